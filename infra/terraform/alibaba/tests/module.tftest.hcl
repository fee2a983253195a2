mock_provider "alicloud" {}

variables {
  package_folder = "tests/package"
  environment = {
    webhook = { EU_KEY = "whsec_example" }
    read    = { STATUS_TOKEN = "example" }
  }
}

run "three_functions_run_as_their_platform_needs_them" {
  command = plan

  assert {
    condition     = toset([for each in alicloud_fcv3_function.this : each.function_name]) == toset(["kube-allowlist-acme-webhook", "kube-allowlist-acme-resync", "kube-allowlist-acme-read"])
    error_message = "The functions are called as iam.json has them."
  }

  assert {
    condition     = alltrue([for each in alicloud_fcv3_function.this : each.instance_concurrency == 1 && each.runtime == "nodejs20"])
    error_message = "An instance has one request at a time, because a role's keys come with each."
  }

  assert {
    condition     = [for name in ["webhook", "resync", "read"] : alicloud_fcv3_function.this[name].timeout] == [29, 60, 29]
    error_message = "The timeouts are those that the functions count with."
  }

  assert {
    condition     = alltrue([for name, each in alicloud_fcv3_function.this : each.handler == "${name}.handler" && each.code[0].zip_file == filebase64("tests/package/${name}.zip")])
    error_message = "Each function is its own archive."
  }

  assert {
    condition     = alltrue([for each in alicloud_fcv3_function.this : each.log_config[0].log_begin_rule == "None" && each.log_config[0].logstore == "functions"])
    error_message = "Every line of a log is one entry."
  }
}

run "variables_reach_only_the_function_that_needs_them" {
  command = plan

  assert {
    condition     = [for name in ["webhook", "resync", "read"] : join(",", [for key in nonsensitive(keys(alicloud_fcv3_function.this[name].environment_variables)) : key if !startswith(key, "KUBE_ALLOWLIST_")])] == ["EU_KEY", "", "STATUS_TOKEN"]
    error_message = "A secret is where it is needed, and nowhere else."
  }

  assert {
    condition     = alltrue([for each in alicloud_fcv3_function.this : nonsensitive(each.environment_variables["KUBE_ALLOWLIST_CONFIG"]) == "/code/allowlist.json"])
    error_message = "The configuration is in the archive."
  }

  assert {
    condition     = alltrue([for name, each in alicloud_fcv3_function.this : nonsensitive(each.environment_variables["KUBE_ALLOWLIST_PACKAGE"]) == filesha256("tests/package/${name}.zip")])
    error_message = "Another archive is seen by the provider."
  }
}

run "only_what_must_be_asked_has_a_url" {
  command = plan

  assert {
    condition     = jsondecode(alicloud_fcv3_trigger.deliveries.trigger_config) == { authType = "anonymous", methods = ["POST"], disableURLInternet = false }
    error_message = "The webhook takes POST, and authenticates it by itself."
  }

  assert {
    condition     = jsondecode(alicloud_fcv3_trigger.reading.trigger_config) == { authType = "anonymous", methods = ["GET", "HEAD"], disableURLInternet = false }
    error_message = "The reader takes GET and HEAD."
  }

  assert {
    condition     = alicloud_fcv3_trigger.schedule.trigger_type == "timer" && alicloud_fcv3_trigger.schedule.function_name == "kube-allowlist-acme-resync"
    error_message = "The resync runs on a schedule."
  }

  assert {
    condition     = jsondecode(alicloud_fcv3_trigger.schedule.trigger_config) == { cronExpression = "@every 1m", enable = true, payload = "" }
    error_message = "It runs every minute."
  }

  assert {
    condition     = alicloud_fcv3_async_invoke_config.resync.max_async_retry_attempts == 0
    error_message = "A run that failed is not repeated."
  }

  assert {
    condition     = length(alicloud_fcv3_concurrency_config.webhook) == 0
    error_message = "No instances are taken from the account unless asked for."
  }
}

run "roles_may_do_what_the_targets_need" {
  command = plan

  assert {
    condition     = alltrue([for each in alicloud_ram_role.function : jsondecode(each.assume_role_policy_document).Statement[0].Principal.Service == ["fc.aliyuncs.com"]])
    error_message = "Only Function Compute takes these roles."
  }

  assert {
    condition     = alltrue([for name, each in alicloud_ram_policy.function : slice(jsondecode(each.policy_document).Statement, 0, length(jsondecode(each.policy_document).Statement) - 1) == jsondecode(file("tests/package/iam.json")).functions[name].ram.Statement])
    error_message = "The policies are those of iam.json, and one statement for the log."
  }

  assert {
    condition     = alltrue([for each in alicloud_ram_policy.function : jsondecode(each.policy_document).Statement[length(jsondecode(each.policy_document).Statement) - 1].Resource == ["acs:log:*:*:project/kube-allowlist-acme/logstore/functions"]])
    error_message = "Lines are written to the functions' own log store, and to no other."
  }

  assert {
    condition     = alltrue(flatten([for each in alicloud_ram_policy.function : [for statement in jsondecode(each.policy_document).Statement : [for resource in statement.Resource : resource != "*"]]]))
    error_message = "No statement is about everything."
  }

  assert {
    condition     = !anytrue(flatten([for statement in jsondecode(alicloud_ram_policy.function["webhook"].policy_document).Statement : [for action in statement.Action : strcontains(action, "Revoke") || strcontains(action, "Delete")]]))
    error_message = "The function that faces the network removes nothing."
  }

  assert {
    condition     = !anytrue(flatten([for statement in jsondecode(alicloud_ram_policy.function["read"].policy_document).Statement : [for action in statement.Action : strcontains(action, "oss:Put") || strcontains(action, "Delete") || strcontains(action, "Modify") || strcontains(action, "Authorize")]]))
    error_message = "The function that shows lists writes nothing."
  }
}

run "the_store_has_no_versions_and_no_readers" {
  command = plan

  assert {
    condition     = alicloud_oss_bucket.store[0].bucket == "acme-allowlist" && length(alicloud_oss_bucket.store[0].versioning) == 0 && length(alicloud_oss_bucket.store[0].lifecycle_rule) == 0
    error_message = "The bucket is the configuration's, without versions and without rules that delete."
  }

  assert {
    condition     = alicloud_oss_bucket_acl.store[0].acl == "private" && alicloud_oss_bucket_public_access_block.store[0].block_public_access
    error_message = "Nobody reads the bucket from outside."
  }
}

run "a_bucket_that_is_there_is_left_alone" {
  command = plan

  variables {
    create_bucket = false
  }

  assert {
    condition     = length(alicloud_oss_bucket.store) == 0 && length(alicloud_oss_bucket_acl.store) == 0 && length(alicloud_oss_bucket_public_access_block.store) == 0
    error_message = "Nothing of the bucket is touched."
  }
}

run "everything_can_be_made" {
  command = apply

  variables {
    webhook_instances_max = 10
  }

  assert {
    condition     = output.function_names.webhook == "kube-allowlist-acme-webhook" && output.log_project == "kube-allowlist-acme"
    error_message = "The outputs name what was made."
  }

  assert {
    condition     = alicloud_fcv3_concurrency_config.webhook[0].reserved_concurrency == 10
    error_message = "Instances are reserved where that is asked for."
  }
}
