output "webhook_url" {
  description = "Where forwarders deliver: `KUBE_ALLOWLIST_URL`. The audience of their tokens may be another text."
  value       = try("${trimsuffix(alicloud_fcv3_trigger.deliveries.http_trigger[0].url_internet, "/")}/v1/snapshots", null)
}

output "read_url" {
  description = "Before `/v1/status` and `/v1/lists/<list>.<format>`."
  value       = try(trimsuffix(alicloud_fcv3_trigger.reading.http_trigger[0].url_internet, "/"), null)
}

output "function_names" {
  description = "Names of the functions, by what they do."
  value       = { for name, each in alicloud_fcv3_function.this : name => each.function_name }
}

output "role_arns" {
  description = "Who the functions are, for the trust policies of roles that they assume in other accounts."
  value       = { for name, each in alicloud_ram_role.function : name => each.arn }
}

output "log_project" {
  description = "The log project; its store is `functions`."
  value       = alicloud_log_project.this.project_name
}
