# One role a function. What each may do outside is rendered from the list of targets; what is written
# here is the platform's own: logs, and the queue of failed runs.
resource "aws_iam_role" "function" {
  for_each = local.functions

  # By this name the functions' sessions are known to roles of other accounts.
  name                 = local.iam.functions[each.key].name
  description          = "What the function of this name may do"
  permissions_boundary = var.permissions_boundary_arn
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "targets" {
  for_each = local.functions

  name   = "targets"
  role   = aws_iam_role.function[each.key].name
  policy = jsonencode(local.iam.functions[each.key].iam)

  lifecycle {
    # "IAM and AWS STS quotas" in the IAM user guide: 10,240 characters of all inline policies of a
    # role together. The rest is for logs and the queue.
    precondition {
      condition     = length(jsonencode(local.iam.functions[each.key].iam)) <= 9700
      error_message = "The policy of ${each.key} is longer than the 10,240 characters that a role takes: split the installation, or reach some of its targets through a role."
    }

    precondition {
      condition = !anytrue(flatten([
        for statement in try(local.iam.functions[each.key].iam.Statement, []) : [
          for action in flatten([statement.Action]) : !startswith(action, "ec2:Describe")
          if contains(flatten([statement.Resource]), "*")
        ]
      ]))
      error_message = "The policy of ${each.key} grants more than describing on everything: iam.json is not what \"npm run package\" writes."
    }
  }
}

resource "aws_iam_role_policy" "logs" {
  for_each = local.functions

  name = "logs"
  role = aws_iam_role.function[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.function[each.key].arn}:*"
      }],
      each.key != "resync" ? [] : [{
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.failures.arn
      }]
    )
  })
}
