# An installation with everything, for the configuration in this folder, as
# "npm run package -- --config infra/terraform/aws/examples/complete/allowlist.yaml" packages it: values
# from Secrets Manager, alarms that somebody hears, and the role of a target in another account.

terraform {
  required_version = ">= 1.6.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29.0"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
}

# The account that the prefix list is in.
provider "aws" {
  alias   = "databases"
  region  = "eu-west-1"
  profile = "databases"
}

variable "package_folder" {
  description = "Where `npm run package` left its files."
  type        = string
  default     = "../../../../../dist/package"
}

variable "alarm_topic_arn" {
  description = "The topic that alarms go to."
  type        = string
}

variable "kms_key_arn" {
  description = "A key for variables and logs."
  type        = string
}

module "kube_allowlist" {
  source = "../.."

  package_folder      = var.package_folder
  entry               = "url"
  secret              = "kube-allowlist/acme"
  alarm_topic_arn     = var.alarm_topic_arn
  kms_key_arn         = var.kms_key_arn
  log_retention_days  = 365
  webhook_concurrency = 20
  tags                = { managed-by = "terraform" }
}

# What the functions may do there, and that it is them: one role for each that the configuration names.
resource "aws_iam_role" "assumed" {
  provider = aws.databases
  for_each = module.kube_allowlist.assumed_roles

  name               = reverse(split("/", each.key))[0]
  assume_role_policy = each.value.trust
}

resource "aws_iam_role_policy" "assumed" {
  provider = aws.databases
  for_each = module.kube_allowlist.assumed_roles

  name   = "kube-allowlist"
  role   = aws_iam_role.assumed[each.key].name
  policy = each.value.policy
}

output "forwarder_environment" {
  description = "Give it to the forwarder of each cluster."
  value       = module.kube_allowlist.forwarder_environment
}

output "read_url" {
  description = "Before `/v1/status` and `/v1/lists/<list>.<format>`."
  value       = module.kube_allowlist.read_url
}
