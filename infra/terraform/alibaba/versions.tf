terraform {
  required_version = ">= 1.6.0"

  required_providers {
    alicloud = {
      source = "aliyun/alicloud"
      # The first whose RAM roles take assume_role_policy_document.
      version = ">= 1.252.0"
    }
  }
}
