mock_provider "alicloud" {}

variables {
  package_folder = "tests/package"
  environment = {
    webhook = { EU_KEY = "whsec_example" }
    read    = { STATUS_TOKEN = "example" }
  }
}

run "a_folder_without_packages" {
  command         = plan
  expect_failures = [var.package_folder]

  variables {
    package_folder = "tests"
  }
}

run "a_variable_of_the_module" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = { webhook = { KUBE_ALLOWLIST_CONFIG = "/tmp/other.json" } }
  }
}

run "a_variable_that_no_shell_knows" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = { read = { "A-B" = "1" } }
  }
}

run "more_variables_than_a_function_holds" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = { webhook = { KEY = join("", [for index in range(1000) : "long"]) } }
  }
}

run "a_log_level_of_another_program" {
  command         = plan
  expect_failures = [var.log_level]

  variables {
    log_level = "verbose"
  }
}

run "a_log_project_in_capitals" {
  command         = plan
  expect_failures = [var.log_project]

  variables {
    log_project = "Kube_Allowlist"
  }
}

run "a_retention_of_no_days" {
  command         = plan
  expect_failures = [var.log_retention_days]

  variables {
    log_retention_days = 0
  }
}

run "a_resync_that_comes_too_seldom" {
  command         = plan
  expect_failures = [var.resync_minutes]

  variables {
    resync_minutes = 10
  }
}

run "memory_between_two_steps" {
  command         = plan
  expect_failures = [var.memory_mb]

  variables {
    memory_mb = 500
  }
}

run "a_part_of_a_vcpu_that_is_not_sold" {
  command         = plan
  expect_failures = [var.cpu]

  variables {
    cpu = 0.33
  }
}

run "less_memory_than_its_vcpus_come_with" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    cpu       = 2
    memory_mb = 512
  }
}

run "one_instance_for_everybody" {
  command         = plan
  expect_failures = [var.webhook_instances_max]

  variables {
    webhook_instances_max = 1
  }
}

run "a_configuration_that_opens_to_everybody" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    package_folder = "tests/open"
  }
}

run "an_archive_that_is_not_the_packaged_one" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    package_folder = "tests/changed"
  }
}

run "an_archive_that_nobody_vouches_for" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    package_folder = "tests/unsummed"
  }
}

run "a_configuration_that_is_not_the_packaged_one" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    package_folder = "tests/reconfigured"
  }
}

run "a_configuration_that_nobody_vouches_for" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    package_folder = "tests/unsummed-configuration"
  }
}

run "a_secret_that_nobody_gave" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    environment = { webhook = { EU_KEY = "whsec_example" } }
  }
}

run "a_secret_with_nothing_in_it" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    environment = { webhook = { EU_KEY = "" }, read = { STATUS_TOKEN = "example" } }
  }
}

run "a_secret_of_another_function" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    environment = { webhook = { EU_KEY = "whsec_example", STATUS_TOKEN = "example" } }
  }
}

run "a_right_to_write_anywhere" {
  command         = plan
  expect_failures = [alicloud_ram_policy.function]

  variables {
    package_folder = "tests/wide"
  }
}

run "a_right_to_write_on_everything_of_a_product" {
  command         = plan
  expect_failures = [alicloud_ram_policy.function]

  variables {
    package_folder = "tests/wide-product"
  }
}

run "a_store_of_another_vendor" {
  command         = plan
  expect_failures = [alicloud_fcv3_function.this]

  variables {
    package_folder = "tests/other-store"
  }
}

run "a_policy_that_ram_does_not_take" {
  command         = plan
  expect_failures = [alicloud_ram_policy.function]

  variables {
    package_folder = "tests/many-targets"
  }
}
