output "webhook_url" {
  description = "Where forwarders deliver: `KUBE_ALLOWLIST_URL`. The audience of their tokens may be another text."
  value       = "${trimsuffix(local.urls.webhook, "/")}/v1/snapshots"
}

output "read_url" {
  description = "Before `/v1/status` and `/v1/lists/<list>.<format>`."
  value       = trimsuffix(local.urls.read, "/")
}

output "forwarder_environment" {
  description = "What the forwarder of each cluster is told, by the name of the cluster; tokens and secrets come besides."
  value = {
    for name in keys(jsondecode(local.text).clusters) : name => {
      KUBE_ALLOWLIST_URL     = "${trimsuffix(local.urls.webhook, "/")}/v1/snapshots"
      KUBE_ALLOWLIST_CLUSTER = name
    }
  }
}

output "function_names" {
  description = "Names of the functions, by what they do."
  value       = { for name, each in aws_lambda_function.this : name => each.function_name }
}

output "role_arns" {
  description = "Who the functions are, by what they do."
  value       = { for name, each in aws_iam_role.function : name => each.arn }
}

output "assumed_roles" {
  description = "Roles that the functions assume, by ARN: the policy each needs and whom it must trust, as JSON. They are made in the accounts that they belong to, after this module."
  value = {
    for each in local.iam.assumed : each.arn => {
      policy = jsonencode(each.policy)
      trust  = jsonencode(each.trust)
    }
    if each.dialect == "iam"
  }

  # AWS refuses to trust a role that is not there yet.
  depends_on = [aws_iam_role.function]
}

output "bucket" {
  description = "The bucket of the store."
  value       = local.store.bucket
}

output "bucket_policy" {
  description = "The policy that the bucket must have, as JSON: with `create_bucket = false` it is yours to set."
  value       = jsonencode(local.iam.bucketPolicy)
}

output "failures_queue_url" {
  description = "The queue of runs of the resync that failed; purge it when the cause is gone."
  value       = aws_sqs_queue.failures.url
}

output "alarm_names" {
  description = "Names of all alarms."
  value       = sort([for each in aws_cloudwatch_metric_alarm.this : each.alarm_name])
}
