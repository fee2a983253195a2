# The module against serverless.yml, of which serverless.json is what it says: both deploy the same.
# Words in capitals stand for what only AWS knows.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_apigatewayv2_api" {
    defaults = { id = "HTTP_API" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "LOG_GROUP_ARN" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "SCHEDULER_ROLE_ARN" }
  }

  mock_resource "aws_lambda_function" {
    defaults = { arn = "RESYNC_ARN" }
  }

  mock_resource "aws_scheduler_schedule_group" {
    defaults = { arn = "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/kube-allowlist-acme" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "FAILURES_ARN" }
  }
}

variables {
  package_folder = "tests/package"
  environment    = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b", STATUS_TOKEN = "c" }
  create_bucket  = false
}

run "the_functions_are_those_of_serverless_yml" {
  assert {
    condition = jsonencode({
      for key, each in aws_lambda_function.this : key => {
        name          = each.function_name
        description   = each.description
        handler       = each.handler
        runtime       = each.runtime
        architectures = each.architectures
        timeout       = each.timeout
        memory        = each.memory_size
        variables     = nonsensitive(keys(each.environment[0].variables))
        logLevel      = nonsensitive(each.environment[0].variables["KUBE_ALLOWLIST_LOG_LEVEL"])
        failures      = one(each.dead_letter_config[*].target_arn)
        retryAttempts = key == "resync" ? aws_lambda_function_event_invoke_config.resync.maximum_retry_attempts : null
        eventAge      = key == "resync" ? aws_lambda_function_event_invoke_config.resync.maximum_event_age_in_seconds : null
      }
    }) == jsonencode(jsondecode(file("tests/serverless.json")).http.functions)
    error_message = "The functions are not those of serverless.yml."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.resync.function_name == "kube-allowlist-acme-resync"
    error_message = "Tries and ages are the resync's."
  }

  assert {
    condition     = alltrue([for each in aws_cloudwatch_log_group.function : each.retention_in_days == jsondecode(file("tests/serverless.json")).http.retention])
    error_message = "Logs are not kept as long as serverless.yml has it."
  }
}

run "the_roles_are_those_of_serverless_yml" {
  assert {
    condition = jsonencode(merge(
      {
        for key, each in aws_iam_role.function : key => {
          name  = each.name
          trust = jsondecode(each.assume_role_policy)
          policies = {
            targets = jsondecode(aws_iam_role_policy.targets[key].policy)
            logs    = jsondecode(aws_iam_role_policy.logs[key].policy)
          }
        }
      },
      {
        scheduler = {
          name     = aws_iam_role.scheduler.name
          trust    = jsondecode(aws_iam_role.scheduler.assume_role_policy)
          policies = { resync = jsondecode(aws_iam_role_policy.scheduler.policy) }
        }
      }
    )) == jsonencode(jsondecode(file("tests/serverless.json")).http.roles)
    error_message = "The roles are not those of serverless.yml."
  }

  assert {
    condition     = alltrue([for key, each in aws_iam_role_policy.targets : each.role == aws_iam_role.function[key].name && aws_iam_role_policy.logs[key].role == each.role]) && aws_iam_role_policy.scheduler.role == aws_iam_role.scheduler.name
    error_message = "Each policy is of its own role."
  }
}

run "the_schedule_is_that_of_serverless_yml" {
  assert {
    condition = jsonencode({
      Name               = aws_scheduler_schedule.resync.name
      GroupName          = aws_scheduler_schedule.resync.group_name
      Description        = aws_scheduler_schedule.resync.description
      ScheduleExpression = aws_scheduler_schedule.resync.schedule_expression
      FlexibleTimeWindow = { Mode = aws_scheduler_schedule.resync.flexible_time_window[0].mode }
      Target = {
        Arn     = aws_scheduler_schedule.resync.target[0].arn
        RoleArn = aws_scheduler_schedule.resync.target[0].role_arn
        RetryPolicy = {
          MaximumEventAgeInSeconds = aws_scheduler_schedule.resync.target[0].retry_policy[0].maximum_event_age_in_seconds
          MaximumRetryAttempts     = aws_scheduler_schedule.resync.target[0].retry_policy[0].maximum_retry_attempts
        }
        DeadLetterConfig = { Arn = aws_scheduler_schedule.resync.target[0].dead_letter_config[0].arn }
      }
    }) == jsonencode(jsondecode(file("tests/serverless.json")).http.schedule)
    error_message = "The schedule is not that of serverless.yml."
  }

  assert {
    condition     = aws_scheduler_schedule.resync.state == "ENABLED" && aws_scheduler_schedule_group.this.name == jsondecode(file("tests/serverless.json")).http.scheduleGroup
    error_message = "The schedule runs, in a group of its own."
  }

  assert {
    condition = jsonencode({
      QueueName              = aws_sqs_queue.failures.name
      MessageRetentionPeriod = aws_sqs_queue.failures.message_retention_seconds
      SqsManagedSseEnabled   = aws_sqs_queue.failures.sqs_managed_sse_enabled
    }) == jsonencode(jsondecode(file("tests/serverless.json")).http.failures)
    error_message = "The queue is not that of serverless.yml."
  }
}

run "the_alarms_of_an_http_api_are_those_of_serverless_yml" {
  assert {
    condition = jsonencode({
      for each in aws_cloudwatch_metric_alarm.this : each.alarm_name => {
        for key, value in {
          AlarmDescription   = each.alarm_description
          Namespace          = each.namespace
          MetricName         = each.metric_name
          Dimensions         = each.dimensions
          Statistic          = each.statistic
          ExtendedStatistic  = each.extended_statistic
          Period             = each.period
          EvaluationPeriods  = each.evaluation_periods
          DatapointsToAlarm  = each.datapoints_to_alarm
          Threshold          = each.threshold
          ComparisonOperator = each.comparison_operator
          TreatMissingData   = each.treat_missing_data
        } : key => value if value != null
      }
    }) == jsonencode(jsondecode(file("tests/serverless.json")).http.alarms)
    error_message = "The alarms are not those of serverless.yml."
  }
}

run "the_alarms_of_urls_are_those_of_serverless_yml" {
  variables {
    entry = "url"
  }

  assert {
    condition = jsonencode({
      for each in aws_cloudwatch_metric_alarm.this : each.alarm_name => {
        for key, value in {
          AlarmDescription   = each.alarm_description
          Namespace          = each.namespace
          MetricName         = each.metric_name
          Dimensions         = each.dimensions
          Statistic          = each.statistic
          ExtendedStatistic  = each.extended_statistic
          Period             = each.period
          EvaluationPeriods  = each.evaluation_periods
          DatapointsToAlarm  = each.datapoints_to_alarm
          Threshold          = each.threshold
          ComparisonOperator = each.comparison_operator
          TreatMissingData   = each.treat_missing_data
        } : key => value if value != null
      }
    }) == jsonencode(jsondecode(file("tests/serverless.json")).url.alarms)
    error_message = "The alarms are not those of serverless.yml."
  }
}

run "the_routes_are_those_of_serverless_yml" {
  assert {
    condition     = jsonencode(local.routes) == jsonencode(jsondecode(file("tests/serverless.json")).http.routes) && toset(values(aws_apigatewayv2_route.this)[*].route_key) == toset(keys(local.routes))
    error_message = "The routes are not those of serverless.yml."
  }

  assert {
    condition = jsonencode({
      ThrottlingBurstLimit = aws_apigatewayv2_stage.this[0].default_route_settings[0].throttling_burst_limit
      ThrottlingRateLimit  = aws_apigatewayv2_stage.this[0].default_route_settings[0].throttling_rate_limit
    }) == jsonencode(jsondecode(file("tests/serverless.json")).http.throttling)
    error_message = "The limit is not that of serverless.yml."
  }
}

run "the_bucket_is_that_of_serverless_yml" {
  command = plan

  variables {
    create_bucket = true
  }

  assert {
    condition = jsonencode({
      BucketName = aws_s3_bucket.store[0].bucket
      PublicAccessBlockConfiguration = {
        BlockPublicAcls       = aws_s3_bucket_public_access_block.store[0].block_public_acls
        BlockPublicPolicy     = aws_s3_bucket_public_access_block.store[0].block_public_policy
        IgnorePublicAcls      = aws_s3_bucket_public_access_block.store[0].ignore_public_acls
        RestrictPublicBuckets = aws_s3_bucket_public_access_block.store[0].restrict_public_buckets
      }
      OwnershipControls = {
        Rules = [for rule in aws_s3_bucket_ownership_controls.store[0].rule : { ObjectOwnership = rule.object_ownership }]
      }
      BucketEncryption = {
        ServerSideEncryptionConfiguration = [for rule in aws_s3_bucket_server_side_encryption_configuration.store[0].rule : {
          ServerSideEncryptionByDefault = { SSEAlgorithm = rule.apply_server_side_encryption_by_default[0].sse_algorithm }
        }]
      }
      VersioningConfiguration = { Status = aws_s3_bucket_versioning.store[0].versioning_configuration[0].status }
      LifecycleConfiguration = {
        Rules = [for rule in aws_s3_bucket_lifecycle_configuration.store[0].rule : merge(
          { Id = rule.id, Status = rule.status },
          length(rule.expiration) == 0 ? {} : {
            for key, value in {
              ExpiredObjectDeleteMarker = rule.expiration[0].expired_object_delete_marker
              ExpirationInDays          = rule.expiration[0].days
              ExpirationDate            = rule.expiration[0].date
            } : key => value if value != null
          },
          length(rule.noncurrent_version_expiration) == 0 ? {} : {
            NoncurrentVersionExpiration = { NoncurrentDays = rule.noncurrent_version_expiration[0].noncurrent_days }
          },
          length(rule.abort_incomplete_multipart_upload) == 0 ? {} : {
            AbortIncompleteMultipartUpload = { DaysAfterInitiation = rule.abort_incomplete_multipart_upload[0].days_after_initiation }
          },
          length(rule.transition) == 0 ? {} : { Transitions = rule.transition }
        )]
      }
    }) == jsonencode(jsondecode(file("tests/serverless.json")).http.store)
    error_message = "The bucket is not that of serverless.yml."
  }

  assert {
    condition     = jsonencode(jsondecode(aws_s3_bucket_policy.store[0].policy)) == jsonencode(jsondecode(file("tests/serverless.json")).http.storePolicy)
    error_message = "The bucket's policy is not that of serverless.yml."
  }

  assert {
    condition     = alltrue(flatten([for rule in aws_s3_bucket_lifecycle_configuration.store[0].rule : [for filter in rule.filter : filter.prefix == null]]))
    error_message = "The rules are about the whole bucket."
  }
}
