variable "package_folder" {
  description = "What `npm run package` made: an archive for each function, `iam.json`, `serverless.json` and `SHA256SUMS`."
  type        = string

  validation {
    condition     = alltrue([for name in ["iam.json", "SHA256SUMS", "webhook.zip", "resync.zip", "read.zip", "webhook/allowlist.json"] : fileexists("${var.package_folder}/${name}")])
    error_message = "There is no complete package in package_folder: run \"npm run package\" first."
  }
}

variable "entry" {
  description = "`http`: an HTTP API in front, with a limit and an access log. `url`: a function URL each, with nothing in between."
  type        = string
  default     = "http"

  validation {
    condition     = contains(["http", "url"], var.entry)
    error_message = "entry is http or url."
  }
}

variable "secret" {
  description = "Name or ARN of a secret of Secrets Manager, a JSON object with a member for each `env:NAME` of the configuration. Each function gets only those that it needs."
  type        = string
  default     = null

  validation {
    condition     = var.secret == null || can(regex("^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@-]{1,512}$", var.secret))
    error_message = "secret is the name or the ARN of a secret of Secrets Manager."
  }
}

variable "environment" {
  description = "Values for what the configuration names as `env:NAME`, where they are not in `secret`. Each function gets only those that it needs."
  type        = map(string)
  default     = {}
  sensitive   = true

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Za-z][A-Za-z0-9_]*$", name)) && !startswith(name, "KUBE_ALLOWLIST_")])
    error_message = "Names of variables are letters, digits and \"_\", and none of KUBE_ALLOWLIST_, which the module sets."
  }

  validation {
    condition     = alltrue([for value in values(var.environment) : try(length(value) > 0, false)])
    error_message = "No variable is empty."
  }
}

variable "create_bucket" {
  description = "Whether to make the bucket that the configuration names as its store. If not, its policy is yours: take the output `bucket_policy`."
  type        = bool
  default     = true
}

variable "log_level" {
  description = "`debug`, `info`, `warn` or `error`. Audit lines are written at every level."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["debug", "info", "warn", "error"], var.log_level)
    error_message = "log_level is debug, info, warn or error."
  }
}

variable "log_retention_days" {
  description = "How long log lines are kept, audit lines among them: one of the numbers that CloudWatch takes."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "alarm_topic_arn" {
  description = "The topic of SNS that alarms go to; none: they are only seen."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn is the ARN of a topic of SNS, and none of its subscriptions."
  }
}

variable "webhook_concurrency" {
  description = "Concurrency that is reserved for the webhook; null reserves none, since new accounts have none to spare."
  type        = number
  default     = null

  validation {
    condition     = var.webhook_concurrency == null || try(var.webhook_concurrency >= 2 && floor(var.webhook_concurrency) == var.webhook_concurrency, false)
    error_message = "webhook_concurrency is a whole number, at least 2: one delivery may wait while another works."
  }
}

variable "kms_key_arn" {
  description = "A key of yours for variables and logs. Its policy must let `logs.<region>.amazonaws.com` use it, and who deploys make grants."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a key, and no alias."
  }
}

variable "permissions_boundary_arn" {
  description = "A policy that bounds what every role of the module may do."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn is the ARN of a policy of IAM."
  }
}

variable "tags" {
  description = "Tags of everything that takes tags, beside `kube-allowlist`, which is the installation."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.tags : length(name) >= 1 && length(name) <= 128 && length(value) <= 256 && !startswith(lower(name), "aws:")])
    error_message = "Names of tags have 1 to 128 characters and do not begin with \"aws:\", values have at most 256."
  }
}
