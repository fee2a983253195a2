# The resync, every minute. No flexible window: it would let two runs meet and then leave a gap of two
# minutes. Runs that meet all the same part by the leases of their targets.
resource "aws_scheduler_schedule_group" "this" {
  name = local.common
  tags = local.tags
}

resource "aws_scheduler_schedule" "resync" {
  #checkov:skip=CKV_AWS_297:Encrypted by the scheduler's own key; it holds a name and a rate

  name                = local.iam.functions.resync.name
  group_name          = aws_scheduler_schedule_group.this.name
  description         = "Resync of every list"
  schedule_expression = "rate(1 minute)"
  state               = "ENABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this["resync"].arn
    role_arn = aws_iam_role.scheduler.arn

    # Tried again until the next one is due.
    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 2
    }

    dead_letter_config {
      arn = aws_sqs_queue.failures.arn
    }
  }

  depends_on = [aws_iam_role_policy.scheduler]
}

resource "aws_iam_role" "scheduler" {
  name                 = "${local.common}-scheduler"
  description          = "Starts the resync"
  permissions_boundary = var.permissions_boundary_arn
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # Nobody else's schedule can come with this role. A schedule's own ARN is not taken here:
      # "Confused deputy prevention" in the EventBridge Scheduler user guide.
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = local.account
          "aws:SourceArn"     = aws_scheduler_schedule_group.this.arn
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "resync"
  role = aws_iam_role.scheduler.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "lambda:InvokeFunction", Resource = aws_lambda_function.this["resync"].arn },
      { Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.failures.arn },
    ]
  })
}

# Runs that failed, and those that could not begin.
resource "aws_sqs_queue" "failures" {
  name                      = "${local.common}-failures"
  message_retention_seconds = 345600
  # SQS' own key: messages are events of a schedule and hold no secret.
  sqs_managed_sse_enabled = true
  tags                    = local.tags
}
