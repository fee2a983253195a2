# What somebody should look at. docs/deploy-aws.md says for each what to do. Unless an alarm says
# otherwise it is about a sum over a minute, rings above 0 and takes silence for good.
locals {
  alarms = merge(
    {
      # A function ended without an answer. One that answers "try again" did not.
      webhook-errors = { about = "The webhook ends without an answer", metric = "Errors", function = "webhook", periods = 5, datapoints = 3 }
      resync-errors  = { about = "The resync fails, so nothing is repaired or removed", metric = "Errors", function = "resync", periods = 5, datapoints = 3 }
      read-errors    = { about = "Feeds and the status end without an answer", metric = "Errors", function = "read", periods = 5, datapoints = 3 }

      # The account's concurrency, or what is reserved, is used up.
      webhook-throttles = { about = "Snapshots are turned away for want of concurrency", metric = "Throttles", function = "webhook", periods = 5, datapoints = 3 }
      resync-throttles  = { about = "The resync is turned away for want of concurrency", metric = "Throttles", function = "resync", periods = 5, datapoints = 3 }
      read-throttles    = { about = "Readers of feeds are turned away for want of concurrency", metric = "Throttles", function = "read", periods = 5, datapoints = 3 }

      # Close to the end of its time: the store or a vendor is slow, or there are too many targets.
      webhook-slow = { about = "The webhook needs nearly all of its 29 seconds", metric = "Duration", function = "webhook", percentile = "p99", period_s = 300, periods = 3, threshold = 25000 }
      resync-slow  = { about = "The resync needs nearly all of its 60 seconds", metric = "Duration", function = "resync", percentile = "p99", period_s = 300, periods = 3, threshold = 50000 }

      # Also where the schedule was switched off: then no other alarm of the resync says anything.
      resync-missing = { about = "The resync does not run", metric = "Invocations", function = "resync", periods = 5, datapoints = 5, threshold = 1, comparison = "LessThanThreshold", missing = "breaching" }

      failures = { about = "Runs of the resync failed, or could not begin; see the queue", metric = "ApproximateNumberOfMessagesVisible", namespace = "AWS/SQS", statistic = "Maximum", periods = 5, datapoints = 5 }

      # Of what the resync says of itself, in lines of its log (docs/observability.md). A run that met
      # somebody at work on a target says "pending" of it, so not each of them must say the same. Where
      # nothing is said at all, although the resync runs, nobody watches any more: that is as bad.
      clusters-stale = { about = "A cluster is not heard, so removals wait; or the resync tells nothing", metric = "ClustersStale", namespace = "KubeAllowlist", statistic = "Maximum", periods = 5, datapoints = 5, missing = "breaching" }
      lists-withheld = { about = "Changes wait for somebody; look at plan", metric = "ListsWithheld", namespace = "KubeAllowlist", statistic = "Maximum", periods = 15, datapoints = 12 }
      lists-failed   = { about = "A target cannot be brought to its list; look at the status", metric = "ListsFailed", namespace = "KubeAllowlist", statistic = "Maximum", periods = 10, datapoints = 8 }
    },
    local.entry_alarms[var.entry],
  )

  entry_alarms = {
    http = {
      unavailable = { about = "Requests are answered with 5xx; mostly the store cannot be reached", metric = "5xx", namespace = "AWS/ApiGateway", periods = 5, datapoints = 5 }
    }
    url = {
      webhook-unavailable = { about = "Snapshots are answered with 5xx; mostly the store cannot be reached", metric = "Url5xxCount", function = "webhook", periods = 5, datapoints = 5 }
      read-unavailable    = { about = "Readers are answered with 5xx; mostly the store cannot be reached", metric = "Url5xxCount", function = "read", periods = 5, datapoints = 5 }
    }
  }

  actions = var.alarm_topic_arn == null ? [] : [var.alarm_topic_arn]
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.common}-${each.key}"
  alarm_description   = each.value.about
  namespace           = try(each.value.namespace, "AWS/Lambda")
  metric_name         = each.value.metric
  statistic           = can(each.value.percentile) ? null : try(each.value.statistic, "Sum")
  extended_statistic  = try(each.value.percentile, null)
  period              = try(each.value.period_s, 60)
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = try(each.value.datapoints, null)
  threshold           = try(each.value.threshold, 0)
  comparison_operator = try(each.value.comparison, "GreaterThanThreshold")
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = local.actions
  ok_actions          = local.actions
  tags                = local.tags

  dimensions = {
    "AWS/Lambda"     = { FunctionName = try(aws_lambda_function.this[each.value.function].function_name, null) }
    "AWS/SQS"        = { QueueName = aws_sqs_queue.failures.name }
    "AWS/ApiGateway" = { ApiId = one(aws_apigatewayv2_api.this[*].id) }
    KubeAllowlist    = { Installation = local.iam.installation }
  }[try(each.value.namespace, "AWS/Lambda")]
}
