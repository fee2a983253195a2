# An installation without any secret, for the configuration in this folder, as
# "npm run package -- --config infra/terraform/aws/examples/minimal/allowlist.yaml" packages it.

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

variable "package_folder" {
  description = "Where `npm run package` left its files."
  type        = string
  default     = "../../../../../dist/package"
}

module "kube_allowlist" {
  source = "../.."

  package_folder = var.package_folder
}

output "webhook_url" {
  description = "Give it to the forwarder."
  value       = module.kube_allowlist.webhook_url
}
