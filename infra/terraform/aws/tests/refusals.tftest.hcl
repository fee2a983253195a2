mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  package_folder = "tests/package"
  environment    = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b", STATUS_TOKEN = "c" }
}

run "a_folder_without_packages" {
  command         = plan
  expect_failures = [var.package_folder]

  variables {
    package_folder = "tests"
  }
}

run "an_archive_that_is_not_the_packaged_one" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/changed"
  }
}

run "an_archive_that_nobody_vouches_for" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/unsummed"
  }
}

run "a_configuration_that_is_not_the_packaged_one" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/reconfigured"
  }
}

run "a_configuration_that_nobody_vouches_for" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/unsummed-configuration"
  }
}

run "a_package_that_names_no_variables" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/without-variables"
  }
}

run "a_configuration_that_opens_to_everybody" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/open"
  }
}

run "a_store_of_another_vendor" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/other-store"
    create_bucket  = false
  }
}

run "a_package_for_another_account" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/other-account"
  }
}

run "a_package_for_another_account_with_its_store_in_a_third" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/other-account-assumed-store"
    create_bucket  = false
  }
}

run "a_package_for_another_region" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    package_folder = "tests/other-region"
  }
}

run "a_bucket_of_another_account" {
  command         = plan
  expect_failures = [aws_s3_bucket.store]

  variables {
    package_folder = "tests/assumed-store"
  }
}

run "a_policy_that_a_role_does_not_take" {
  command         = plan
  expect_failures = [aws_iam_role_policy.targets]

  variables {
    package_folder = "tests/many-targets"
  }
}

run "a_right_to_write_anywhere" {
  command         = plan
  expect_failures = [aws_iam_role_policy.targets]

  variables {
    package_folder = "tests/wide"
  }
}

run "a_secret_that_nobody_gave" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    environment = { LINODE_TOKEN = "a", STATUS_TOKEN = "c" }
  }
}

run "a_secret_with_nothing_in_a_member" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    secret      = "kube-allowlist/acme"
    environment = { LINODE_TOKEN = "a", STATUS_TOKEN = "c" }
  }

  override_data {
    target = data.aws_secretsmanager_secret_version.values
    values = { secret_string = "{\"PROD_EU_WEBHOOK_SECRET\":null}" }
  }
}

run "more_variables_than_a_function_holds" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  variables {
    environment = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b", STATUS_TOKEN = join("", [for index in range(1000) : "long"]) }
  }
}

run "an_empty_variable" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "", STATUS_TOKEN = "c" }
  }
}

run "a_variable_of_the_module" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b", STATUS_TOKEN = "c", KUBE_ALLOWLIST_CONFIG = "/tmp/other.json" }
  }
}

run "a_variable_that_no_shell_knows" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = { LINODE_TOKEN = "a", PROD_EU_WEBHOOK_SECRET = "b", STATUS_TOKEN = "c", "A-B" = "1" }
  }
}

run "a_secret_with_a_space" {
  command         = plan
  expect_failures = [var.secret]

  variables {
    secret = "kube allowlist"
  }
}

run "a_parameter_in_place_of_a_secret" {
  command         = plan
  expect_failures = [var.secret]

  variables {
    secret = "arn:aws:ssm:eu-west-1:123456789012:parameter/acme"
  }
}

run "an_entry_of_another_kind" {
  command         = plan
  expect_failures = [var.entry]

  variables {
    entry = "alb"
  }
}

run "a_log_level_of_another_program" {
  command         = plan
  expect_failures = [var.log_level]

  variables {
    log_level = "verbose"
  }
}

run "a_retention_that_cloudwatch_does_not_sell" {
  command         = plan
  expect_failures = [var.log_retention_days]

  variables {
    log_retention_days = 45
  }
}

run "a_retention_for_ever" {
  command         = plan
  expect_failures = [var.log_retention_days]

  variables {
    log_retention_days = 0
  }
}

run "a_subscription_in_place_of_a_topic" {
  command         = plan
  expect_failures = [var.alarm_topic_arn]

  variables {
    alarm_topic_arn = "arn:aws:sns:eu-west-1:123456789012:alarms:0a1b2c3d"
  }
}

run "a_queue_in_place_of_a_topic" {
  command         = plan
  expect_failures = [var.alarm_topic_arn]

  variables {
    alarm_topic_arn = "arn:aws:sqs:eu-west-1:123456789012:alarms"
  }
}

run "one_delivery_at_a_time" {
  command         = plan
  expect_failures = [var.webhook_concurrency]

  variables {
    webhook_concurrency = 1
  }
}

run "half_a_delivery" {
  command         = plan
  expect_failures = [var.webhook_concurrency]

  variables {
    webhook_concurrency = 2.5
  }
}

run "an_alias_in_place_of_a_key" {
  command         = plan
  expect_failures = [var.kms_key_arn]

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:alias/logs"
  }
}

run "a_role_in_place_of_a_boundary" {
  command         = plan
  expect_failures = [var.permissions_boundary_arn]

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/boundary"
  }
}

run "an_account_of_eleven_digits" {
  command         = plan
  expect_failures = [var.permissions_boundary_arn]

  variables {
    permissions_boundary_arn = "arn:aws:iam::12345678901:policy/boundary"
  }
}

run "a_tag_of_aws" {
  command         = plan
  expect_failures = [var.tags]

  variables {
    tags = { "aws:team" = "payments" }
  }
}

run "a_provider_of_another_partition" {
  command         = plan
  expect_failures = [aws_lambda_function.this]

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws-cn" }
  }
}
