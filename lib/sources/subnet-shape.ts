import * as z from "zod/mini";
import { regionShape as alibabaRegion } from "../targets/alibaba/common.ts";
import { regionShape as awsRegion } from "../targets/aws/common.ts";
import { alibabaSettings, awsSettings } from "../targets/connection.ts";

/*
 * A subnet as the configuration writes it, by the vendor whose name is the key of its id. Reached
 * like the vendor's targets.
 */

const VSWITCH_ID = /^vsw-[a-z0-9]{1,40}$/;
const SUBNET_ID = /^subnet-[0-9a-f]{1,17}$/;

export const alibabaSubnetShape = z
  .strictObject({
    alibaba: z.string().check(
      z.regex(VSWITCH_ID, {
        error: ({ input }) =>
          `Cannot use vSwitch ${JSON.stringify(input)}: write its id like ` +
          '"vsw-2zem796p76viir02c6980"',
      }),
    ),
    region: alibabaRegion,
    ...alibabaSettings,
  })
  .check(z.describe("A vSwitch of Alibaba Cloud"));

export const awsSubnetShape = z
  .strictObject({
    aws: z.string().check(
      z.regex(SUBNET_ID, {
        error: ({ input }) =>
          `Cannot use subnet ${JSON.stringify(input)}: write its id like ` +
          `"subnet-0a1b2c3d4e5f60718"`,
      }),
    ),
    region: awsRegion,
    ...awsSettings,
  })
  .check(z.describe("A subnet of AWS"));
