# An installation of Function Compute for the configuration in this folder, as
# "npm run package -- --config infra/terraform/alibaba/examples/complete/allowlist.yaml" packages it.

terraform {
  required_version = ">= 1.6.0"

  required_providers {
    alicloud = {
      source  = "aliyun/alicloud"
      version = ">= 1.252.0"
    }
  }
}

provider "alicloud" {
  region = "cn-beijing"
}

variable "package_folder" {
  description = "Where `npm run package` left its files."
  type        = string
  default     = "../../../../../dist/package"
}

variable "webhook_secret" {
  description = "What the forwarder of prod-eu signs with: \"whsec_\" and the output of \"openssl rand -base64 32\"."
  type        = string
  sensitive   = true
}

variable "status_token" {
  description = "What may read the status."
  type        = string
  sensitive   = true
}

module "kube_allowlist" {
  source = "../.."

  package_folder = var.package_folder
  environment = {
    webhook = { PROD_EU_WEBHOOK_SECRET = var.webhook_secret }
    read    = { STATUS_TOKEN = var.status_token }
  }
  log_retention_days    = 180
  webhook_instances_max = 10
  tags                  = { managed-by = "terraform" }
}

output "webhook_url" {
  description = "Give it to the forwarder."
  value       = module.kube_allowlist.webhook_url
}
