locals {
  iam    = jsondecode(file("${var.package_folder}/iam.json"))
  text   = file("${var.package_folder}/webhook/allowlist.json")
  store  = jsondecode(local.text).store
  common = "kube-allowlist-${local.iam.installation}"

  log_project = coalesce(var.log_project, local.common)

  functions = {
    webhook = { description = "Takes snapshots of clusters and adds their addresses", timeout_s = 29 }
    resync  = { description = "Compares every list with its targets, and removes what is not wanted any more", timeout_s = 60 }
    read    = { description = "Shows lists and the status", timeout_s = 29 }
  }

  # Lines of SHA256SUMS: "<sum>  <file>".
  sums = {
    for line in compact(split("\n", file("${var.package_folder}/SHA256SUMS"))) :
    split("  ", line)[1] => split("  ", line)[0]
  }
  changed = [
    for name, sum in local.sums : name
    if try(filesha256("${var.package_folder}/${name}"), "") != sum
  ]
  unsummed = setsubtract(concat(
    ["iam.json", "variables.json", "webhook/allowlist.json"],
    [for name in keys(local.functions) : "${name}.zip"],
  ), keys(local.sums))

  # Which variables each function needs.
  needed = jsondecode(file("${var.package_folder}/variables.json"))

  # Nothing but the lines of the functions, and only there.
  logging = {
    Effect   = "Allow"
    Action   = ["log:PostLogStoreLogs"]
    Resource = ["acs:log:*:*:project/${local.log_project}/logstore/${alicloud_log_store.functions.logstore_name}"]
  }
}

resource "alicloud_log_project" "this" {
  project_name = local.log_project
  description  = "Logs of kube-allowlist"
  tags         = var.tags
}

resource "alicloud_log_store" "functions" {
  project_name     = alicloud_log_project.this.project_name
  logstore_name    = "functions"
  retention_period = var.log_retention_days
  shard_count      = 1
}

resource "alicloud_log_store_index" "functions" {
  project  = alicloud_log_project.this.project_name
  logstore = alicloud_log_store.functions.logstore_name

  full_text {
    case_sensitive = false
    token          = " ,;=()[]{}?@&<>/:\"\n\t\r"
  }
}

# The store relies on "create, never overwrite", which OSS does not keep once versions were switched
# on, even if they were suspended later: so there is no versioning here, and the functions refuse a
# bucket that has it. No lifecycle rule either: the newest object of a silent cluster may be old.
# OSS itself refuses to destroy a bucket that holds objects.
resource "alicloud_oss_bucket" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = local.store.bucket
  tags   = var.tags

  server_side_encryption_rule {
    sse_algorithm = "AES256"
  }
}

resource "alicloud_oss_bucket_acl" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = alicloud_oss_bucket.store[0].bucket
  acl    = "private"
}

resource "alicloud_oss_bucket_public_access_block" "store" {
  count               = var.create_bucket ? 1 : 0
  bucket              = alicloud_oss_bucket.store[0].bucket
  block_public_access = true
}

resource "alicloud_ram_role" "function" {
  for_each    = local.functions
  role_name   = local.iam.functions[each.key].name
  description = "What the function of this name may do"
  assume_role_policy_document = jsonencode({
    Version = "1"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = ["fc.aliyuncs.com"] }
    }]
  })
}

resource "alicloud_ram_policy" "function" {
  for_each    = local.functions
  policy_name = local.iam.functions[each.key].name
  description = "Rendered from the list of targets"
  policy_document = jsonencode({
    Version   = "1"
    Statement = concat(try(local.iam.functions[each.key].ram.Statement, []), [local.logging])
  })
  # The former version is kept for a way back; RAM holds five.
  rotate_strategy = "DeleteOldestNonDefaultVersionWhenLimitExceeded"

  lifecycle {
    precondition {
      condition     = length(jsonencode(try(local.iam.functions[each.key].ram.Statement, []))) <= 5800
      error_message = "The policy of ${each.key} is longer than the 6,144 characters that RAM takes: split the installation."
    }

    precondition {
      condition = !anytrue(flatten([
        for statement in try(local.iam.functions[each.key].ram.Statement, []) : [
          for action in flatten([statement.Action]) : !can(regex("^[a-z]+:Describe[A-Za-z]+$", action))
          if anytrue([for resource in flatten([statement.Resource]) : can(regex("^(\\*|acs:.*:\\*)$", resource))])
        ]
      ]))
      error_message = "The policy of ${each.key} grants more than describing on everything: iam.json is not what \"npm run package\" writes."
    }
  }
}

resource "alicloud_ram_role_policy_attachment" "function" {
  for_each    = local.functions
  role_name   = alicloud_ram_role.function[each.key].role_name
  policy_name = alicloud_ram_policy.function[each.key].policy_name
  policy_type = "Custom"
}

resource "alicloud_fcv3_function" "this" {
  for_each      = local.functions
  function_name = local.iam.functions[each.key].name
  description   = each.value.description
  runtime       = "nodejs20"
  handler       = "${each.key}.handler"
  role          = alicloud_ram_role.function[each.key].arn
  cpu           = var.cpu
  memory_size   = var.memory_mb
  disk_size     = 512
  # What the function counts with; it ends 3 s before.
  timeout = each.value.timeout_s
  # The keys of a role come with each event, so an instance has one at a time.
  instance_concurrency = 1
  internet_access      = true
  tags                 = var.tags

  environment_variables = merge(var.environment[each.key], {
    KUBE_ALLOWLIST_CONFIG    = "/code/allowlist.json"
    KUBE_ALLOWLIST_LOG_LEVEL = var.log_level
    # The provider does not see that an archive has changed; a variable it does.
    KUBE_ALLOWLIST_PACKAGE = filesha256("${var.package_folder}/${each.key}.zip")
  })

  code {
    zip_file = filebase64("${var.package_folder}/${each.key}.zip")
  }

  log_config {
    project                 = alicloud_log_project.this.project_name
    logstore                = alicloud_log_store.functions.logstore_name
    enable_request_metrics  = true
    enable_instance_metrics = true
    # Every line is one JSON object.
    log_begin_rule = "None"
  }

  depends_on = [alicloud_ram_role_policy_attachment.function, alicloud_oss_bucket.store]

  lifecycle {
    precondition {
      condition     = local.store.kind == "oss"
      error_message = "The configuration's store is ${local.store.kind}: functions on Function Compute keep theirs in oss."
    }

    precondition {
      condition     = length(local.changed) == 0 && length(local.unsummed) == 0
      error_message = "Not as SHA256SUMS has it: ${join(", ", concat(local.changed, tolist(local.unsummed)))}. Run \"npm run package\" again."
    }

    precondition {
      condition     = alltrue([for name in local.needed[each.key] : try(length(var.environment[each.key][name]) > 0, false)])
      error_message = "${each.key} needs ${join(", ", local.needed[each.key])}: name each in environment.${each.key}."
    }

    precondition {
      condition     = length(regexall("\"(0\\.0\\.0\\.0|::)/0\"", local.text)) == 0
      error_message = "The configuration holds 0.0.0.0/0 or ::/0, which no list may."
    }

    precondition {
      condition     = var.cpu * 1024 <= var.memory_mb && var.memory_mb <= var.cpu * 4096
      error_message = "Function Compute wants 1 to 4 GB of memory for each vCPU: change cpu or memory_mb."
    }
  }
}

resource "alicloud_fcv3_trigger" "deliveries" {
  function_name = alicloud_fcv3_function.this["webhook"].function_name
  trigger_name  = "deliveries"
  trigger_type  = "http"
  qualifier     = "LATEST"
  # The function authenticates each delivery itself.
  trigger_config = jsonencode({
    authType           = "anonymous"
    methods            = ["POST"]
    disableURLInternet = false
  })
}

resource "alicloud_fcv3_trigger" "reading" {
  function_name = alicloud_fcv3_function.this["read"].function_name
  trigger_name  = "reading"
  trigger_type  = "http"
  qualifier     = "LATEST"
  trigger_config = jsonencode({
    authType           = "anonymous"
    methods            = ["GET", "HEAD"]
    disableURLInternet = false
  })
}

resource "alicloud_fcv3_trigger" "schedule" {
  function_name = alicloud_fcv3_function.this["resync"].function_name
  trigger_name  = "schedule"
  trigger_type  = "timer"
  qualifier     = "LATEST"
  trigger_config = jsonencode({
    cronExpression = "@every ${var.resync_minutes}m"
    enable         = true
    payload        = ""
  })
}

# A run that failed is not repeated: the next one is a minute away.
resource "alicloud_fcv3_async_invoke_config" "resync" {
  function_name                  = alicloud_fcv3_function.this["resync"].function_name
  qualifier                      = "LATEST"
  max_async_retry_attempts       = 0
  max_async_event_age_in_seconds = 60
}

resource "alicloud_fcv3_concurrency_config" "webhook" {
  count                = var.webhook_instances_max == null ? 0 : 1
  function_name        = alicloud_fcv3_function.this["webhook"].function_name
  reserved_concurrency = var.webhook_instances_max
}
