# What the internet reaches: an HTTP API in front of both functions, or a URL for each.
locals {
  open = toset(["webhook", "read"])
  http = var.entry == "http"

  routes = {
    "POST /v1/snapshots"    = "webhook"
    "GET /v1/status"        = "read"
    "GET /v1/lists/{file}"  = "read"
    "HEAD /v1/lists/{file}" = "read"
  }

  urls = {
    for name in local.open : name =>
    local.http ? one(aws_apigatewayv2_api.this[*].api_endpoint) : aws_lambda_function_url.this[name].function_url
  }
}

resource "aws_apigatewayv2_api" "this" {
  count = local.http ? 1 : 0

  name          = local.common
  protocol_type = "HTTP"
  tags          = local.tags
}

resource "aws_apigatewayv2_integration" "this" {
  for_each = local.http ? local.open : toset([])

  api_id                 = aws_apigatewayv2_api.this[0].id
  integration_type       = "AWS_PROXY"
  integration_method     = "POST"
  integration_uri        = aws_lambda_function.this[each.key].arn
  payload_format_version = "2.0"
  # The most there is: the webhook's own 29 seconds end before.
  timeout_milliseconds = 30000
}

resource "aws_apigatewayv2_route" "this" {
  for_each = local.http ? local.routes : {}

  #checkov:skip=CKV_AWS_309:Whoever calls is authenticated by the function, by token or signature

  api_id             = aws_apigatewayv2_api.this[0].id
  route_key          = each.key
  authorization_type = "NONE"
  target             = "integrations/${aws_apigatewayv2_integration.this[each.value].id}"
}

resource "aws_apigatewayv2_stage" "this" {
  count = local.http ? 1 : 0

  api_id      = aws_apigatewayv2_api.this[0].id
  name        = "$default"
  auto_deploy = true
  tags        = local.tags

  # Of all clusters and readers together; what is beyond is answered with 429.
  default_route_settings {
    throttling_burst_limit = 100
    throttling_rate_limit  = 50
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access[0].arn
    format = jsonencode({
      requestId      = "$context.requestId"
      ip             = "$context.identity.sourceIp"
      requestTime    = "$context.requestTime"
      httpMethod     = "$context.httpMethod"
      routeKey       = "$context.routeKey"
      status         = "$context.status"
      protocol       = "$context.protocol"
      responseLength = "$context.responseLength"
    })
  }
}

resource "aws_cloudwatch_log_group" "access" {
  count = local.http ? 1 : 0

  #checkov:skip=CKV_AWS_338:How long lines are kept is log_retention_days; a year is more than most need

  name              = "/aws/http-api/${local.common}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = local.tags
}

resource "aws_lambda_permission" "api" {
  for_each = local.http ? local.open : toset([])

  statement_id  = "http-api"
  function_name = aws_lambda_function.this[each.key].function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this[0].execution_arn}/*"
}

resource "aws_lambda_function_url" "this" {
  for_each = local.http ? toset([]) : local.open

  #checkov:skip=CKV_AWS_258:Whoever calls is authenticated by the function, by token or signature

  function_name      = aws_lambda_function.this[each.key].function_name
  authorization_type = "NONE"
}

# A URL needs both, and answers 403 without the second ("Control access to Lambda function URLs" in
# the Lambda developer guide).
resource "aws_lambda_permission" "url" {
  for_each = local.http ? toset([]) : local.open

  #checkov:skip=CKV_AWS_301:Whoever calls is authenticated by the function, by token or signature

  statement_id           = "url"
  function_name          = aws_lambda_function.this[each.key].function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "through_url" {
  for_each = local.http ? toset([]) : local.open

  #checkov:skip=CKV_AWS_301:Only through its URL, where the function authenticates whoever calls

  statement_id             = "through-url"
  function_name            = aws_lambda_function.this[each.key].function_name
  action                   = "lambda:InvokeFunction"
  principal                = "*"
  invoked_via_function_url = true
}
