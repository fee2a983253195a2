# The bucket that holds everything the functions know. Without it every cluster would be unheard, and
# every grace would begin again: so nothing here destroys it, and README.md says how to let it go.
resource "aws_s3_bucket" "store" {
  count = var.create_bucket ? 1 : 0

  #checkov:skip=CKV_AWS_18:Every object is the record of one write already; CloudTrail's data events tell who
  #checkov:skip=CKV_AWS_144:What is lost with a region, the clusters' next snapshots bring back; targets keep what is on them
  #checkov:skip=CKV_AWS_145:Encrypted by the key of S3; a key of KMS would be one more permission for every function
  #checkov:skip=CKV2_AWS_62:Nobody waits for its objects

  bucket        = local.store.bucket
  force_destroy = false
  tags          = local.tags

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = !can(local.store.role)
      error_message = "The configuration reaches its store through a role, so the bucket is another account's: set create_bucket to false."
    }
  }
}

resource "aws_s3_bucket_public_access_block" "store" {
  count = var.create_bucket ? 1 : 0

  bucket                  = aws_s3_bucket.store[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.store[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.store[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# What the resync trims can be had back for a week.
resource "aws_s3_bucket_versioning" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.store[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

# Never anything that is current: the newest object of a silent cluster is old, too.
resource "aws_s3_bucket_lifecycle_configuration" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.store[0].id

  rule {
    id     = "trimmed"
    status = "Enabled"

    filter {}

    expiration {
      expired_object_delete_marker = true
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }
  }

  rule {
    id     = "unfinished"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  # Rules about versions want them there.
  depends_on = [aws_s3_bucket_versioning.store]
}

# Nothing is overwritten, only the resync deletes, and nobody comes over http, whoever asks.
resource "aws_s3_bucket_policy" "store" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.store[0].id
  policy = jsonencode(local.iam.bucketPolicy)

  # S3 refuses two changes of a bucket's access at once.
  depends_on = [aws_s3_bucket_public_access_block.store, aws_s3_bucket_ownership_controls.store]
}
