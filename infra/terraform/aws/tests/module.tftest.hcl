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

  mock_data "aws_secretsmanager_secret_version" {
    defaults = { secret_string = "{\"LINODE_TOKEN\":\"d\",\"PROD_EU_WEBHOOK_SECRET\":\"e\",\"STATUS_TOKEN\":\"f\",\"ANOTHER\":\"g\"}" }
  }

  mock_resource "aws_apigatewayv2_api" {
    defaults = {
      api_endpoint  = "https://abcdef1234.execute-api.eu-west-1.amazonaws.com"
      execution_arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234"
    }
  }

  mock_resource "aws_apigatewayv2_integration" {
    defaults = { id = "abc1234" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:mocked" }
  }

  mock_resource "aws_lambda_function_url" {
    defaults = { function_url = "https://abcdefghij1234567890.lambda-url.eu-west-1.on.aws/" }
  }
}

variables {
  package_folder = "tests/package"
  environment    = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b", STATUS_TOKEN = "c" }
}

run "three_functions_run_what_was_packaged" {
  command = plan

  assert {
    condition     = toset([for each in aws_lambda_function.this : each.function_name]) == toset(["kube-allowlist-acme-webhook", "kube-allowlist-acme-resync", "kube-allowlist-acme-read"])
    error_message = "The functions are called as iam.json has them."
  }

  assert {
    condition     = alltrue([for name, each in aws_lambda_function.this : each.filename == "tests/package/${name}.zip" && each.source_code_hash == filebase64sha256("tests/package/${name}.zip")])
    error_message = "Each function is its own archive, and another archive is seen."
  }

  assert {
    condition     = alltrue([for each in aws_lambda_function.this : each.reserved_concurrent_executions == null])
    error_message = "No concurrency is reserved unless asked for."
  }

  assert {
    condition     = toset([for each in aws_cloudwatch_log_group.function : each.name]) == toset([for each in aws_lambda_function.this : "/aws/lambda/${each.function_name}"])
    error_message = "Each function writes where its lines are kept for a time."
  }
}

run "variables_reach_only_the_function_that_needs_them" {
  command = plan

  assert {
    condition     = jsonencode({ for name, each in aws_lambda_function.this : name => nonsensitive({ for key, value in each.environment[0].variables : key => value if !startswith(key, "KUBE_ALLOWLIST_") }) }) == jsonencode({ webhook = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b" }, resync = { LINODE_TOKEN = "a" }, read = { STATUS_TOKEN = "c" } })
    error_message = "A secret is where it is needed, and nowhere else."
  }

  assert {
    condition     = length(data.aws_secretsmanager_secret_version.values) == 0
    error_message = "No secret is read that nobody named."
  }
}

run "values_come_from_a_secret" {
  command = plan

  variables {
    secret      = "kube-allowlist/acme"
    environment = { LINODE_TOKEN = "a" }
  }

  assert {
    condition     = data.aws_secretsmanager_secret_version.values[0].secret_id == "kube-allowlist/acme"
    error_message = "The secret is the one that was named."
  }

  assert {
    condition     = jsonencode({ for name, each in aws_lambda_function.this : name => nonsensitive({ for key, value in each.environment[0].variables : key => value if !startswith(key, "KUBE_ALLOWLIST_") }) }) == jsonencode({ webhook = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "e" }, resync = { LINODE_TOKEN = "a" }, read = { STATUS_TOKEN = "f" } })
    error_message = "Each function gets its own members of the secret, and environment goes before it."
  }
}

run "roles_may_do_what_the_targets_need" {
  command = plan

  assert {
    condition     = alltrue([for each in aws_iam_role.function : jsondecode(each.assume_role_policy).Statement[0].Principal == { Service = "lambda.amazonaws.com" }])
    error_message = "Only Lambda takes these roles."
  }

  assert {
    condition     = alltrue([for name, each in aws_iam_role_policy.targets : each.policy == replace(jsonencode(jsondecode(file("tests/package/iam.json")).functions[name].iam), ":ACCOUNT_ID:", ":123456789012:")])
    error_message = "The policies are those of iam.json, in this account."
  }

  assert {
    condition     = !strcontains(join("", [for each in aws_iam_role_policy.targets : each.policy]), "ACCOUNT_ID")
    error_message = "No account is left open."
  }

  assert {
    condition     = alltrue(flatten([for each in aws_iam_role_policy.targets : [for statement in jsondecode(each.policy).Statement : [for action in statement.Action : startswith(action, "ec2:Describe") if contains(statement.Resource, "*")]]]))
    error_message = "Nothing but describing is granted on everything."
  }

  assert {
    condition     = !can(regex("Revoke|Delete|Remove", aws_iam_role_policy.targets["webhook"].policy))
    error_message = "The function that faces the network removes nothing."
  }

  assert {
    condition     = strcontains(aws_iam_role_policy.targets["resync"].policy, "ec2:RevokeSecurityGroupIngress") && strcontains(aws_iam_role_policy.targets["resync"].policy, "s3:DeleteObject")
    error_message = "The resync removes and trims."
  }

  assert {
    condition     = alltrue(flatten([for statement in jsondecode(aws_iam_role_policy.targets["read"].policy).Statement : [for action in statement.Action : contains(["s3:GetObject", "s3:ListBucket"], action)]]))
    error_message = "The function that shows lists reads the bucket, and that is all."
  }

  assert {
    condition     = alltrue([for each in concat(values(aws_iam_role.function), [aws_iam_role.scheduler]) : each.permissions_boundary == null])
    error_message = "No boundary unless asked for."
  }
}

run "an_http_api_stands_in_front" {
  variables {
    create_bucket = false
  }

  assert {
    condition     = aws_apigatewayv2_api.this[0].protocol_type == "HTTP" && aws_apigatewayv2_stage.this[0].name == "$default" && aws_apigatewayv2_stage.this[0].auto_deploy
    error_message = "The API answers at its own address, with what is there now."
  }

  assert {
    condition     = toset([for each in aws_apigatewayv2_route.this : each.route_key]) == toset(["POST /v1/snapshots", "GET /v1/status", "GET /v1/lists/{file}", "HEAD /v1/lists/{file}"]) && alltrue([for each in aws_apigatewayv2_route.this : each.target == "integrations/abc1234"])
    error_message = "The routes are those that the functions answer."
  }

  assert {
    condition     = toset(keys(aws_apigatewayv2_integration.this)) == toset(["webhook", "read"]) && alltrue([for name, each in aws_apigatewayv2_integration.this : each.integration_type == "AWS_PROXY" && each.integration_method == "POST" && each.payload_format_version == "2.0" && each.integration_uri == aws_lambda_function.this[name].arn])
    error_message = "Each function gets what came, as its handler reads it; the resync gets nothing."
  }

  assert {
    condition     = alltrue([for each in aws_apigatewayv2_integration.this : each.timeout_milliseconds > aws_lambda_function.this["webhook"].timeout * 1000])
    error_message = "The API waits longer than the webhook takes."
  }

  assert {
    condition     = alltrue([for name, each in aws_lambda_permission.api : each.action == "lambda:InvokeFunction" && each.principal == "apigateway.amazonaws.com" && each.source_arn == "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/*" && each.function_name == "kube-allowlist-acme-${name}"])
    error_message = "Only this API calls the functions."
  }

  assert {
    condition     = length(aws_lambda_function_url.this) + length(aws_lambda_permission.url) + length(aws_lambda_permission.through_url) == 0
    error_message = "There is no way around the API."
  }

  assert {
    condition     = jsondecode(aws_apigatewayv2_stage.this[0].access_log_settings[0].format).status == "$context.status" && !can(regex("(?i)authori|header|body|query", aws_apigatewayv2_stage.this[0].access_log_settings[0].format))
    error_message = "The access log says who asked for what, and no secret."
  }

  assert {
    condition     = output.webhook_url == "https://abcdef1234.execute-api.eu-west-1.amazonaws.com/v1/snapshots" && output.read_url == "https://abcdef1234.execute-api.eu-west-1.amazonaws.com"
    error_message = "The outputs say where the API is."
  }

  assert {
    condition     = output.forwarder_environment == { prod-eu = { KUBE_ALLOWLIST_URL = "https://abcdef1234.execute-api.eu-west-1.amazonaws.com/v1/snapshots", KUBE_ALLOWLIST_CLUSTER = "prod-eu" } }
    error_message = "Each cluster's forwarder is told where to deliver."
  }
}

run "each_function_has_a_url" {
  variables {
    entry         = "url"
    create_bucket = false
  }

  assert {
    condition     = toset(keys(aws_lambda_function_url.this)) == toset(["webhook", "read"]) && alltrue([for each in aws_lambda_function_url.this : each.authorization_type == "NONE"])
    error_message = "Both that are asked have a URL, and authenticate by themselves; the resync has none."
  }

  assert {
    condition     = alltrue([for name in ["webhook", "read"] : aws_lambda_permission.url[name].action == "lambda:InvokeFunctionUrl" && aws_lambda_permission.url[name].principal == "*" && aws_lambda_permission.url[name].function_url_auth_type == "NONE" && aws_lambda_permission.url[name].function_name == "kube-allowlist-acme-${name}"])
    error_message = "Calling the URL is allowed."
  }

  assert {
    condition     = alltrue([for name in ["webhook", "read"] : aws_lambda_permission.through_url[name].action == "lambda:InvokeFunction" && aws_lambda_permission.through_url[name].principal == "*" && aws_lambda_permission.through_url[name].invoked_via_function_url && aws_lambda_permission.through_url[name].function_name == "kube-allowlist-acme-${name}"])
    error_message = "Calling the function is allowed, through its URL and in no other way."
  }

  assert {
    condition     = toset(keys(aws_lambda_permission.through_url)) == toset(["webhook", "read"]) && toset(keys(aws_lambda_permission.url)) == toset(["webhook", "read"])
    error_message = "Nobody may call the resync."
  }

  assert {
    condition     = length(aws_apigatewayv2_api.this) + length(aws_apigatewayv2_route.this) + length(aws_apigatewayv2_stage.this) + length(aws_apigatewayv2_integration.this) + length(aws_lambda_permission.api) + length(aws_cloudwatch_log_group.access) == 0
    error_message = "There is no API to pay for."
  }

  assert {
    condition     = output.webhook_url == "https://abcdefghij1234567890.lambda-url.eu-west-1.on.aws/v1/snapshots" && output.read_url == "https://abcdefghij1234567890.lambda-url.eu-west-1.on.aws"
    error_message = "The outputs say where the functions are."
  }
}

run "the_bucket_outlives_everything" {
  command = plan

  assert {
    condition     = aws_s3_bucket.store[0].bucket == "acme-allowlist" && !aws_s3_bucket.store[0].force_destroy
    error_message = "The bucket is the configuration's, and is not emptied."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_s3_bucket_policy.store[0].policy).Statement : statement if statement.Sid == "NothingIsOverwritten"]) == { Sid = "NothingIsOverwritten", Effect = "Deny", Principal = "*", Action = "s3:PutObject", Resource = "arn:aws:s3:::acme-allowlist/v1/*", Condition = { Null = { "s3:if-none-match" = "true" } } }
    error_message = "Nothing is written without If-None-Match."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_s3_bucket_policy.store[0].policy).Statement : statement.Condition.ArnNotEquals["aws:PrincipalArn"] if statement.Sid == "OnlyTheResyncDeletes"]) == "arn:aws:iam::123456789012:role/kube-allowlist-acme-resync"
    error_message = "Only the resync deletes."
  }

  assert {
    condition     = output.bucket_policy == aws_s3_bucket_policy.store[0].policy && output.bucket == "acme-allowlist"
    error_message = "The outputs name the bucket and its policy."
  }
}

run "a_bucket_that_is_there_is_left_alone" {
  command = plan

  variables {
    create_bucket = false
  }

  assert {
    condition     = length(aws_s3_bucket.store) + length(aws_s3_bucket_policy.store) + length(aws_s3_bucket_public_access_block.store) + length(aws_s3_bucket_ownership_controls.store) + length(aws_s3_bucket_server_side_encryption_configuration.store) + length(aws_s3_bucket_versioning.store) + length(aws_s3_bucket_lifecycle_configuration.store) == 0
    error_message = "Nothing of the bucket is touched."
  }

  assert {
    condition     = jsondecode(output.bucket_policy).Statement[0].Effect == "Deny"
    error_message = "Whoever owns the bucket is told its policy."
  }
}

run "a_store_in_another_account_is_reached_through_its_role" {
  command = plan

  variables {
    package_folder = "tests/assumed-store"
    create_bucket  = false
  }

  assert {
    condition     = one([for statement in jsondecode(output.bucket_policy).Statement : statement.Condition.ArnNotEquals["aws:PrincipalArn"] if statement.Sid == "OnlyTheResyncDeletes"]) == "arn:aws:iam::210987654321:role/databases/allowlist"
    error_message = "For the bucket, who comes through the role is the role."
  }
}

run "a_package_for_this_account_says_so" {
  command = plan

  override_data {
    target = data.aws_caller_identity.current
    values = { account_id = "210987654321" }
  }

  variables {
    package_folder = "tests/other-account"
  }

  assert {
    condition     = aws_iam_role_policy.targets["webhook"].policy == jsonencode(jsondecode(file("tests/other-account/iam.json")).functions.webhook.iam)
    error_message = "What names its account is taken as it is."
  }
}

run "roles_of_other_accounts_are_described" {
  command = plan

  assert {
    condition     = keys(output.assumed_roles) == ["arn:aws:iam::210987654321:role/databases/allowlist"]
    error_message = "Every role that is assumed is named."
  }

  assert {
    condition     = [for statement in jsondecode(output.assumed_roles["arn:aws:iam::210987654321:role/databases/allowlist"].trust).Statement : statement.Principal.AWS] == [["arn:aws:iam::123456789012:role/kube-allowlist-acme-webhook"], ["arn:aws:iam::123456789012:role/kube-allowlist-acme-resync"]]
    error_message = "It must trust the two functions that work on targets."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(output.assumed_roles["arn:aws:iam::210987654321:role/databases/allowlist"].policy).Statement : statement.Condition.StringLike["aws:userid"] == ["*:kube-allowlist-acme-resync"] if contains(statement.Action, "ec2:RevokeSecurityGroupIngress")])
    error_message = "Only sessions of the resync remove through it."
  }
}

run "alarms_are_only_seen_unless_somebody_is_told" {
  command = plan

  assert {
    condition     = alltrue([for each in aws_cloudwatch_metric_alarm.this : length(each.alarm_actions) == 0 && length(each.ok_actions) == 0])
    error_message = "Nobody is told unless asked for."
  }
}

run "what_was_asked_for_is_there" {
  command = plan

  variables {
    alarm_topic_arn          = "arn:aws:sns:eu-west-1:123456789012:alarms"
    kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
    log_level                = "debug"
    log_retention_days       = 365
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    tags                     = { team = "payments" }
    webhook_concurrency      = 20
  }

  assert {
    condition     = alltrue([for each in aws_cloudwatch_metric_alarm.this : each.alarm_actions == toset([var.alarm_topic_arn]) && each.ok_actions == toset([var.alarm_topic_arn])])
    error_message = "Every alarm goes to the topic, and says when it is over."
  }

  assert {
    condition     = alltrue([for each in aws_lambda_function.this : each.kms_key_arn == var.kms_key_arn]) && alltrue([for each in concat(values(aws_cloudwatch_log_group.function), aws_cloudwatch_log_group.access) : each.kms_key_id == var.kms_key_arn && each.retention_in_days == 365])
    error_message = "Variables and logs are under the key, and lines are kept for the time."
  }

  assert {
    condition     = alltrue([for each in concat(values(aws_iam_role.function), [aws_iam_role.scheduler]) : each.permissions_boundary == var.permissions_boundary_arn])
    error_message = "Every role is bounded."
  }

  assert {
    condition     = jsonencode({ for name, each in aws_lambda_function.this : name => each.reserved_concurrent_executions }) == jsonencode({ webhook = 20, resync = null, read = null })
    error_message = "Concurrency is reserved for the webhook alone."
  }

  assert {
    condition = alltrue([for tags in concat(
      values(aws_lambda_function.this)[*].tags,
      values(aws_iam_role.function)[*].tags,
      values(aws_cloudwatch_log_group.function)[*].tags,
      values(aws_cloudwatch_metric_alarm.this)[*].tags,
      aws_apigatewayv2_api.this[*].tags,
      aws_apigatewayv2_stage.this[*].tags,
      aws_cloudwatch_log_group.access[*].tags,
      aws_s3_bucket.store[*].tags,
      [aws_iam_role.scheduler.tags, aws_scheduler_schedule_group.this.tags, aws_sqs_queue.failures.tags],
    ) : tags == tomap({ kube-allowlist = "acme", team = "payments" })])
    error_message = "Everything that takes tags has them."
  }

  assert {
    condition     = alltrue([for each in aws_lambda_function.this : nonsensitive(each.environment[0].variables["KUBE_ALLOWLIST_LOG_LEVEL"]) == "debug"])
    error_message = "The functions say as much as asked for."
  }
}
