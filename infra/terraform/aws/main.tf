data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

data "aws_partition" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id

  # Where nobody told `npm run package` the account, its number is left open.
  iam    = jsondecode(replace(file("${var.package_folder}/iam.json"), ":ACCOUNT_ID:", ":${local.account}:"))
  text   = file("${var.package_folder}/webhook/allowlist.json")
  store  = jsondecode(local.text).store
  common = "kube-allowlist-${local.iam.installation}"
  tags   = merge({ kube-allowlist = local.iam.installation }, var.tags)

  # The times are those that the functions count with.
  functions = {
    webhook = { description = "Takes snapshots of clusters and adds what is missing", timeout_s = 29, memory_mb = 512 }
    resync  = { description = "Compares every list with its targets, and removes", timeout_s = 60, memory_mb = 512 }
    read    = { description = "Shows lists and the status", timeout_s = 15, memory_mb = 256 }
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
    local.store.kind == "s3" ? ["serverless.json"] : [],
    ["iam.json", "webhook/allowlist.json"],
    [for name in keys(local.functions) : "${name}.zip"],
  ), keys(local.sums))

  # Which variables each function needs; serverless.yml takes them from the same file.
  needed = {
    for name in keys(local.functions) : name =>
    keys(try(jsondecode(file("${var.package_folder}/serverless.json")).functions[name].environment, {}))
  }
  secret = jsondecode(var.secret == null ? "{}" : data.aws_secretsmanager_secret_version.values[0].secret_string)
  values = merge(local.secret, var.environment)

  # Who the functions will be.
  own_arns = {
    for name in keys(local.functions) : name =>
    "arn:${data.aws_partition.current.partition}:iam::${local.account}:role/${local.iam.functions[name].name}"
  }
  # Whom the package takes them for: whom the bucket lets delete, who may be the role of a store in
  # another account, and whom roles that they assume shall trust.
  deleting = toset(try([
    for statement in local.iam.bucketPolicy.Statement : statement.Condition.ArnNotEquals["aws:PrincipalArn"]
    if statement.Sid == "OnlyTheResyncDeletes"
  ], []))
  trusted = toset(flatten([
    for each in local.iam.assumed : [for statement in each.trust.Statement : statement.Principal.AWS]
    if each.dialect == "iam"
  ]))
  strangers = setunion(
    setsubtract(local.deleting, [try(local.store.role.arn, local.store.role, local.own_arns.resync)]),
    setsubtract(local.trusted, values(local.own_arns)),
  )
}

data "aws_secretsmanager_secret_version" "values" {
  count     = var.secret == null ? 0 : 1
  secret_id = var.secret
}

resource "aws_lambda_function" "this" {
  for_each = local.functions

  #checkov:skip=CKV_AWS_50:Traces may only be written to everything, and the log tells the same
  #checkov:skip=CKV_AWS_117:Calls public APIs alone; a network of its own would add a NAT gateway and nothing else
  #checkov:skip=CKV_AWS_272:The archive's sum is verified here; a signing profile belongs to an account, not to a module

  function_name    = local.iam.functions[each.key].name
  description      = each.value.description
  role             = aws_iam_role.function[each.key].arn
  runtime          = "nodejs24.x"
  architectures    = ["arm64"]
  handler          = "${each.key}.handler"
  filename         = "${var.package_folder}/${each.key}.zip"
  source_code_hash = filebase64sha256("${var.package_folder}/${each.key}.zip")
  timeout          = each.value.timeout_s
  memory_size      = each.value.memory_mb
  kms_key_arn      = var.kms_key_arn
  tags             = local.tags

  # What is reserved is taken from the whole account, which has too little while it is new.
  reserved_concurrent_executions = each.key == "webhook" ? var.webhook_concurrency : null

  environment {
    variables = merge(
      { for name in local.needed[each.key] : name => lookup(local.values, name, "") },
      { KUBE_ALLOWLIST_LOG_LEVEL = var.log_level }
    )
  }

  # Runs that failed. Only the scheduler calls without waiting for an answer.
  dynamic "dead_letter_config" {
    for_each = each.key == "resync" ? [aws_sqs_queue.failures.arn] : []

    content {
      target_arn = dead_letter_config.value
    }
  }

  depends_on = [
    aws_cloudwatch_log_group.function,
    aws_iam_role_policy.logs,
    aws_iam_role_policy.targets,
    aws_s3_bucket_policy.store,
  ]

  lifecycle {
    precondition {
      condition     = local.store.kind == "s3"
      error_message = "The configuration's store is ${local.store.kind}: functions on Lambda keep theirs in s3."
    }

    precondition {
      condition     = length(local.changed) == 0 && length(local.unsummed) == 0
      error_message = "Not as SHA256SUMS has it: ${join(", ", concat(local.changed, tolist(local.unsummed)))}. Run \"npm run package\" again."
    }

    precondition {
      condition     = length(regexall("\"(0\\.0\\.0\\.0|::)/0\"", local.text)) == 0
      error_message = "The configuration holds 0.0.0.0/0 or ::/0, which no list may."
    }

    precondition {
      condition     = try(local.store.region, data.aws_region.current.region) == data.aws_region.current.region
      error_message = "The configuration's store is in ${try(local.store.region, "")}: configure the provider for that region."
    }

    precondition {
      condition     = length(local.strangers) == 0
      error_message = "The package is for ${join(", ", local.strangers)}, and would be deployed as ${join(", ", values(local.own_arns))}: run \"npm run package\" with the --account and --region of this deployment."
    }

    precondition {
      # What is null in the secret, or no text, is no value either.
      condition     = alltrue([for name in local.needed[each.key] : try(length(tostring(local.values[name])) > 0, false)])
      error_message = "${each.key} needs ${join(", ", local.needed[each.key])}: name each in environment, or in the secret."
    }

    precondition {
      condition     = length(jsonencode([for name in local.needed[each.key] : [name, lookup(local.values, name, "")]])) <= 3900
      error_message = "All variables of a function together have 4 KB: those of ${each.key} have more."
    }
  }
}

# The next minute's run does what a failed one did not.
resource "aws_lambda_function_event_invoke_config" "resync" {
  function_name                = aws_lambda_function.this["resync"].function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}

resource "aws_cloudwatch_log_group" "function" {
  for_each = local.functions

  #checkov:skip=CKV_AWS_338:How long lines are kept is log_retention_days; a year is more than most need

  name              = "/aws/lambda/${local.iam.functions[each.key].name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = local.tags
}
