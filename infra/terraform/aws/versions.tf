terraform {
  required_version = ">= 1.6.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The first whose permissions take invoked_via_function_url, without which a URL answers 403.
      version = ">= 6.29.0"
    }
  }
}
