variable "package_folder" {
  description = "What `npm run package` made: an archive for each function, `iam.json`, `variables.json` and `SHA256SUMS`."
  type        = string

  validation {
    condition     = alltrue([for name in ["iam.json", "variables.json", "SHA256SUMS", "webhook.zip", "resync.zip", "read.zip", "webhook/allowlist.json"] : fileexists("${var.package_folder}/${name}")])
    error_message = "There is no complete package in package_folder: run \"npm run package\" first."
  }
}

variable "environment" {
  description = "Variables of each function, for what the configuration names as `env:NAME`; `npm run package` lists them."
  type = object({
    webhook = optional(map(string), {})
    resync  = optional(map(string), {})
    read    = optional(map(string), {})
  })
  default   = {}
  sensitive = true

  validation {
    condition     = alltrue([for name in flatten([for each in values(var.environment) : keys(each)]) : can(regex("^[A-Za-z][A-Za-z0-9_]*$", name)) && !startswith(name, "KUBE_ALLOWLIST_")])
    error_message = "Names of variables are letters, digits and \"_\", and none of KUBE_ALLOWLIST_, which the module sets."
  }

  validation {
    condition     = alltrue([for each in values(var.environment) : length(join("", concat(keys(each), values(each)))) <= 3500])
    error_message = "Variables of a function hold at most 4 KB in all: keep pinned keys in the configuration."
  }
}

variable "create_bucket" {
  description = "Whether to make the bucket that the configuration names as its store."
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

variable "log_project" {
  description = "Name of the log project; `kube-allowlist-<installation>` unless told. No other account may have one of this name in the region."
  type        = string
  default     = null

  validation {
    condition     = var.log_project == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.log_project))
    error_message = "log_project is 3 to 63 of a-z, 0-9 and \"-\", with no \"-\" at either end."
  }
}

variable "log_retention_days" {
  description = "How long log lines are kept, audit lines among them."
  type        = number
  default     = 90

  validation {
    condition     = var.log_retention_days >= 1 && var.log_retention_days <= 3650 && floor(var.log_retention_days) == var.log_retention_days
    error_message = "log_retention_days is a whole number from 1 to 3650."
  }
}

variable "resync_minutes" {
  description = "Minutes between two runs of the resync. What is withdrawn stays up to so much longer."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3, 4, 5], var.resync_minutes)
    error_message = "resync_minutes is 1 to 5: every target is to be checked every 5 minutes."
  }
}

variable "memory_mb" {
  description = "Memory of each function, a multiple of 64."
  type        = number
  default     = 512

  validation {
    condition     = var.memory_mb >= 256 && var.memory_mb <= 4096 && var.memory_mb % 64 == 0
    error_message = "memory_mb is a multiple of 64 from 256 to 4096."
  }
}

variable "cpu" {
  description = "vCPUs of each function, a multiple of 0.05. Function Compute wants 1 to 4 GB of memory for each."
  type        = number
  default     = 0.5

  validation {
    condition     = var.cpu >= 0.05 && var.cpu <= 16 && abs(var.cpu * 20 - floor(var.cpu * 20 + 0.5)) < 0.001
    error_message = "cpu is a multiple of 0.05 from 0.05 to 16."
  }
}

variable "webhook_instances_max" {
  description = "Most instances of the webhook at once, taken from the account's own limit; null reserves none."
  type        = number
  default     = null

  validation {
    condition     = var.webhook_instances_max == null || try(var.webhook_instances_max >= 2 && floor(var.webhook_instances_max) == var.webhook_instances_max, false)
    error_message = "webhook_instances_max is a whole number, at least 2: one delivery may wait while another works."
  }
}

variable "tags" {
  description = "Tags of the functions, the bucket and the log project."
  type        = map(string)
  default     = {}
}
