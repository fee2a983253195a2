import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { inspect } from "node:util";
import fc from "fast-check";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import type { Ec2Backend } from "../../cli/embedded/ec2-group-actions.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { awsErrorOf } from "../../lib/clouds/aws/errors.ts";
import { type AwsConnection, type AwsContext, CALL_MS_MAX } from "../../lib/clouds/aws/session.ts";
import { openSecurityGroups } from "../../lib/clouds/aws.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import { SECURITY_GROUP_TRAITS } from "../../lib/targets/aws/security-group.ts";
import { faultyEc2 } from "../fakes/ec2.ts";
import { failure, outlasting, serve } from "../fakes/ec2-server.ts";
import { soon, until } from "../fakes/soon.ts";
import { type VirtualWorld, virtualWorld } from "../virtual-world.ts";

const GROUP = "sg-0a1b";
const SIGNAL = new AbortController().signal;
const ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: "AKIAOWN",
  AWS_SECRET_ACCESS_KEY: "canary-of-the-secret-key",
  AWS_SESSION_TOKEN: "canary-of-the-session-token",
};
const ROLE = { arn: "arn:aws:iam::123456789012:role/allow-list", externalId: "acme-1" };

function open(connection: Partial<AwsConnection>, context: Partial<AwsContext> = {}) {
  return openSecurityGroups(
    { region: "eu-west-1", endpoint: null, stsEndpoint: null, role: null, ...connection },
    { world: virtualWorld(), env: ENVIRONMENT, ...context },
  );
}

function kindOf(thrown: unknown): TargetErrorKind {
  return awsErrorOf(thrown, { operation: "ec2:X", now: 0 }).kind;
}

const answered = (name: string, httpStatusCode = 400) => ({ name, $metadata: { httpStatusCode } });

const EXPECTED: readonly (readonly [TargetErrorKind, readonly unknown[]])[] = [
  [
    "throttled",
    [
      answered("RequestLimitExceeded", 503),
      answered("EC2ThrottledException", 503),
      answered("Throttling"),
      answered("ThrottlingException"),
      answered("ThrottledException"),
      answered("SomethingNew", 429),
    ],
  ],
  [
    "conflict",
    [
      answered("InvalidPermission.Duplicate"),
      answered("InvalidPermission.NotFound"),
      answered("InvalidSecurityGroupRuleId.NotFound"),
      answered("InvalidPrefixListModification"),
      answered("PrefixListVersionMismatch"),
      answered("WAFDuplicateItemException"),
      answered("WAFOptimisticLockException"),
    ],
  ],
  ["busy", [answered("IncorrectState"), answered("ConcurrentMutationLimitExceeded")]],
  [
    "full",
    [
      answered("PrefixListMaxEntriesExceeded"),
      answered("RulesPerSecurityGroupLimitExceeded"),
      answered("WAFLimitsExceededException"),
    ],
  ],
  [
    "missing",
    [
      answered("InvalidGroup.NotFound"),
      answered("InvalidPrefixListID.NotFound"),
      answered("InvalidPrefixListId.NotFound"),
      answered("InvalidSecurityGroupID.NotFound"),
      answered("InvalidSubnetID.NotFound"),
      answered("WAFNonexistentItemException"),
    ],
  ],
  [
    "denied",
    [
      answered("UnauthorizedOperation", 403),
      answered("AccessDenied", 403),
      answered("AuthFailure", 401),
      answered("InvalidClientTokenId", 403),
      answered("SignatureDoesNotMatch", 403),
      answered("OptInRequired", 401),
      answered("SomethingNew", 401),
      answered("SomethingNew", 403),
    ],
  ],
  [
    "unavailable",
    [
      answered("InternalError", 500),
      answered("WAFInternalErrorException", 500),
      answered("WAFUnavailableEntityException"),
      answered("Unavailable", 503),
      answered("SomethingNew", 502),
      answered("RequestExpired"),
      answered("ExpiredToken"),
      answered("ExpiredTokenException"),
      answered("SomethingNew", 408),
      answered("SyntaxError", 200),
      { name: "CredentialsProviderError" },
      { name: "TimeoutError" },
      { name: "AbortError" },
      Object.assign(new Error("read"), { code: "ECONNRESET" }),
      Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" }),
      Object.assign(new Error("connect"), { code: "ECONNREFUSED" }),
      new TypeError("x"),
      answered("constructor", 500),
      "text",
      null,
      undefined,
    ],
  ],
  [
    "invalid",
    [
      answered("InvalidParameterValue"),
      answered("InvalidParameterCombination"),
      answered("MissingParameter"),
      answered("WAFInvalidOperationException"),
      answered("WAFInvalidParameterException"),
      answered("InvalidPermission.Malformed"),
      answered("InvalidGroupId.Malformed"),
      answered("SomethingNew"),
      answered("__proto__"),
    ],
  ],
];
test("awsErrorOf() gives every code the kind that says what to do", () => {
  for (const [kind, errors] of EXPECTED) {
    for (const error of errors) assert.equal(kindOf(error), kind, inspect(error));
  }
});

test("awsErrorOf() names the operation, the code, the status and the request, and repeats no text", () => {
  const thrown = Object.assign(new Error("x-amz-security-token:canary"), {
    name: "SignatureDoesNotMatch",
    Error: { Message: "canary" },
    $metadata: { httpStatusCode: 403, requestId: "0d5c-1" },
    $response: { headers: { "x-canary": "canary" }, body: "canary" },
  });
  const error = awsErrorOf(thrown, { operation: "ec2:RevokeSecurityGroupIngress", now: 0 });
  assert.equal(
    error.message,
    "ec2:RevokeSecurityGroupIngress ended in SignatureDoesNotMatch, HTTP 403, request 0d5c-1",
  );
  assert.equal(error.code, "SignatureDoesNotMatch");
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  assert(!shown.includes("canary"));
});

test("awsErrorOf() is safe with whatever is thrown", () => {
  fc.assert(
    fc.property(fc.anything(), fc.anything(), (thrown, headers) => {
      const options = { operation: "ec2:X", now: 0 };
      const plain = awsErrorOf(thrown, options);
      assert.match(
        plain.message,
        /^ec2:X ended in [A-Za-z][\w.-]*(, HTTP \d+)?(, request [\w-]+)?$/,
      );
      const { retryAfterMs } = awsErrorOf({ $response: { headers } }, options);
      assert(retryAfterMs === null || (retryAfterMs >= 0 && retryAfterMs <= 300_000));
    }),
    { numRuns: 500 },
  );
});

test("awsErrorOf() reads how long to wait as seconds or as a date, and believes no more than five minutes", () => {
  const now = Date.UTC(2026, 10, 20, 21, 0, 0);
  const wait = (value: string) =>
    awsErrorOf(
      {
        ...answered("RequestLimitExceeded", 503),
        $response: { headers: { "retry-after": value } },
      },
      { operation: "ec2:X", now },
    ).retryAfterMs;
  assert.equal(wait("7"), 7_000);
  assert.equal(wait("Fri, 20 Nov 2026 21:00:30 GMT"), 30_000);
  assert.equal(wait("Fri, 20 Nov 2026 20:00:00 GMT"), 0);
  assert.equal(wait("86400"), 300_000);
  assert.equal(wait("soon"), null);
  assert.equal(wait(""), null);
});

test("every call ends by itself within the time that the target's traits promise", async (context) => {
  assert.equal(SECURITY_GROUP_TRAITS.callMs, CALL_MS_MAX);
  const backend = faultyEc2(ec2Groups([GROUP]));
  const server = await startEmbeddedEc2({ groups: backend });
  context.after(() => server.close());
  const world = virtualWorld();
  const client = open({ endpoint: server.url }, { world });
  backend.inject("describe", { kind: "hang" });
  backend.inject("authorize", { kind: "hang" });
  backend.inject("revoke", { kind: "hang" });
  const change = {
    protocol: "tcp",
    fromPort: 1,
    toPort: 1,
    ipv4: ["192.0.2.1/32"],
    ipv6: [],
    description: "x",
  };
  const ended = [
    await outlasting(world, client.describe(GROUP, SIGNAL), {
      reached: () => backend.calls.describe > 0,
      ms: CALL_MS_MAX,
    }),
    await outlasting(world, client.authorize(GROUP, change, SIGNAL), {
      reached: () => backend.calls.authorize > 0,
      ms: CALL_MS_MAX,
    }),
    await outlasting(world, client.revoke(GROUP, ["sgr-1"], SIGNAL), {
      reached: () => backend.calls.revoke > 0,
      ms: CALL_MS_MAX,
    }),
  ];
  assert.deepEqual(
    ended.map(({ kind, code, operation }) => [kind, code, operation]),
    [
      ["unavailable", "TimeoutError", "ec2:DescribeSecurityGroupRules"],
      ["unavailable", "TimeoutError", "ec2:AuthorizeSecurityGroupIngress"],
      ["unavailable", "TimeoutError", "ec2:RevokeSecurityGroupIngress"],
    ],
  );
});

test("describe() ends in time when an answer begins and does not end", async (context) => {
  let begun = 0;
  const endpoint = await serve(context, (_body, _request, response) => {
    response.writeHead(200, { "content-type": "text/xml" });
    response.write("<DescribeSecurityGroupRulesResponse><securityGroupRuleSet>");
    begun += 1;
  });
  const world = virtualWorld();
  const client = open({ endpoint }, { world });
  const error = await outlasting(world, client.describe(GROUP, SIGNAL), {
    reached: () => begun > 0,
    ms: CALL_MS_MAX,
  });
  assert.equal(error.kind, "unavailable");
});

test("describe() takes nothing for an empty group but an answer that says so", async (context) => {
  const answers = [
    "",
    "<html><body>Please log in</body></html>",
    "<DescribeSecurityGroupRulesResponse><requestId>1</requestId></DescribeSecurityGroupRulesResponse>",
    "{}",
  ];
  for (const answer of answers) {
    const endpoint = await serve(context, (_body, _request, response) => response.end(answer));
    const error = await failure(open({ endpoint }).describe(GROUP, SIGNAL));
    assert.equal(error.kind, "unavailable", answer);
  }
  const endpoint = await serve(context, (_body, _request, response) =>
    response.end(
      "<DescribeSecurityGroupRulesResponse><securityGroupRuleSet/></DescribeSecurityGroupRulesResponse>",
    ),
  );
  assert.deepEqual(await open({ endpoint }).describe(GROUP, SIGNAL), []);
});

test("describe() rejects an answer of which it does not understand every rule", async (context) => {
  const whole = {
    securityGroupRuleId: "sgr-1",
    groupId: GROUP,
    isEgress: "false",
    ipProtocol: "tcp",
    fromPort: "1",
    toPort: "1",
    cidrIpv4: "192.0.2.1/32",
  };
  const answerWith = (row: Record<string, string>) => {
    const item = Object.entries(row).map(([name, text]) => `<${name}>${text}</${name}>`);
    const set = `<securityGroupRuleSet><item>${item.join("")}</item></securityGroupRuleSet>`;
    return serve(context, (_body, _request, response) =>
      response.end(
        `<DescribeSecurityGroupRulesResponse>${set}</DescribeSecurityGroupRulesResponse>`,
      ),
    );
  };
  assert.equal(
    (await open({ endpoint: await answerWith(whole) }).describe(GROUP, SIGNAL)).length,
    1,
  );
  for (const name of ["securityGroupRuleId", "groupId", "isEgress", "ipProtocol", "cidrIpv4"]) {
    const { [name]: _left, ...part } = whole as Record<string, string>;
    const error = await failure(open({ endpoint: await answerWith(part) }).describe(GROUP, SIGNAL));
    assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"], name);
  }
  const elsewhere = await answerWith({ ...whole, groupId: "sg-0ff" });
  assert.deepEqual(await open({ endpoint: elsewhere }).describe(GROUP, SIGNAL), []);
});

test("describe() gives up on an answer whose pages have no end", async (context) => {
  let pages = 0;
  const endless: Ec2Backend = {
    ...ec2Groups([GROUP]),
    describe: () => {
      pages += 1;
      return { rules: [], nextToken: "page-0" };
    },
  };
  const server = await startEmbeddedEc2({ groups: endless });
  context.after(() => server.close());
  const error = await failure(open({ endpoint: server.url }).describe(GROUP, SIGNAL));
  assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"]);
  assert.equal(pages, 50);
});

test("a name that does not resolve and a port where nobody listens are unavailable", async () => {
  for (const endpoint of ["http://ec2.invalid", "http://127.0.0.1:1"]) {
    const error = await failure(open({ endpoint }).describe(GROUP, SIGNAL));
    assert.equal(error.kind, "unavailable", endpoint);
    assert.match(error.code, /^E[A-Z_]+$/);
  }
});

test("calls are signed with the credentials of the environment that was handed in", async (context) => {
  const seen: (string | undefined)[] = [];
  const endpoint = await serve(context, (_body, request, response) => {
    seen.push(request.headers.authorization, String(request.headers["x-amz-security-token"]));
    response.writeHead(401).end();
  });
  const error = await failure(open({ endpoint }).describe(GROUP, SIGNAL));
  assert.equal(error.kind, "denied");
  assert.match(seen[0] ?? "", /Credential=AKIAOWN\/\d{8}\/eu-west-1\/ec2\/aws4_request/);
  assert.equal(seen[1], ENVIRONMENT.AWS_SESSION_TOKEN);
});

test("without any credentials the call is unavailable and says so", async (context) => {
  const names = Object.keys(process.env).filter((name) => name.startsWith("AWS_"));
  const saved = names.map((name) => [name, process.env[name]] as const);
  const lack = {
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
    AWS_CONFIG_FILE: "/nonexistent/config",
  };
  context.after(() => {
    for (const name of Object.keys(lack)) delete process.env[name];
    for (const [name, value] of saved) process.env[name] = value;
  });
  for (const name of names) delete process.env[name];
  Object.assign(process.env, lack);
  const error = await failure(
    open({ endpoint: "http://127.0.0.1:1" }, { env: {} }).describe(GROUP, SIGNAL),
  );
  assert.deepEqual([error.kind, error.code], ["unavailable", "CredentialsProviderError"]);
});

/** STS that hands out a new key each time, and EC2 beside it that keeps who called. */
async function startAccount(
  context: TestContext,
  options: {
    readonly world: VirtualWorld;
    readonly lasts?: number;
    readonly env?: AwsContext["env"];
  },
) {
  const assumed: URLSearchParams[] = [];
  const callers: string[] = [];
  const refuse: { sts: string | null; ec2: string | null; hang: boolean } = {
    sts: null,
    ec2: null,
    hang: false,
  };
  const errorXml = (code: string) =>
    `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>canary</Message></Error></ErrorResponse>`;
  const stsEndpoint = await serve(context, (body, _request, response) => {
    assumed.push(new URLSearchParams(body));
    if (refuse.hang) return;
    if (refuse.sts !== null) {
      response.writeHead(403, { "content-type": "text/xml" }).end(errorXml(refuse.sts));
      return;
    }
    const until = new Date(options.world.now() + (options.lasts ?? 3_600_000)).toISOString();
    response.end(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
      <AccessKeyId>ASIA${assumed.length}</AccessKeyId><SecretAccessKey>canary-assumed</SecretAccessKey>
      <SessionToken>canary-session</SessionToken><Expiration>${until}</Expiration>
      </Credentials></AssumeRoleResult></AssumeRoleResponse>`);
  });
  const endpoint = await serve(context, (_body, request, response) => {
    callers.push(/Credential=(\w+)/.exec(request.headers.authorization ?? "")?.[1] ?? "nobody");
    if (refuse.ec2 !== null) {
      response
        .writeHead(400, { "content-type": "text/xml" })
        .end(`<Response><Errors><Error><Code>${refuse.ec2}</Code></Error></Errors></Response>`);
      return;
    }
    response.end(
      "<DescribeSecurityGroupRulesResponse><securityGroupRuleSet/></DescribeSecurityGroupRulesResponse>",
    );
  });
  const { world, env = ENVIRONMENT } = options;
  const client = (role: AwsConnection["role"] = ROLE) =>
    open({ endpoint, stsEndpoint, role }, { world, env });
  return { assumed, callers, refuse, client };
}

test("a role is assumed once for all targets of a World, with its external id, and again before it ends", async (context) => {
  const world = virtualWorld();
  const { assumed, callers, client } = await startAccount(context, { world });
  await client().describe(GROUP, SIGNAL);
  await client().describe(GROUP, SIGNAL);
  await world.advance(54 * 60_000);
  await client().describe(GROUP, SIGNAL);
  assert.equal(assumed.length, 1);
  assert.equal(assumed[0]?.get("Action"), "AssumeRole");
  assert.equal(assumed[0]?.get("RoleArn"), ROLE.arn);
  assert.equal(assumed[0]?.get("ExternalId"), "acme-1");
  assert.equal(assumed[0]?.get("RoleSessionName"), "kube-allowlist");
  await world.advance(60_000);
  await client().describe(GROUP, SIGNAL);
  assert.deepEqual(callers, ["ASIA1", "ASIA1", "ASIA1", "ASIA2"]);
  await client({ arn: `${ROLE.arn}-2` }).describe(GROUP, SIGNAL);
  assert.equal(assumed[2]?.get("ExternalId"), null);
  assert.equal(callers.at(-1), "ASIA3");
});

test("a role's sessions bear the name of the function, or the one that the SDK's variable gives", async (context) => {
  const lambda = { ...ENVIRONMENT, AWS_LAMBDA_FUNCTION_NAME: "kube-allowlist-acme-webhook" };
  for (const [env, expected] of [
    [lambda, "kube-allowlist-acme-webhook"],
    [{ ...lambda, AWS_ROLE_SESSION_NAME: "by-hand" }, "by-hand"],
    [
      { ...ENVIRONMENT, FC_FUNCTION_NAME: "kube-allowlist-acme-resync" },
      "kube-allowlist-acme-resync",
    ],
  ] as const) {
    const { assumed, client } = await startAccount(context, { world: virtualWorld(), env });
    await client().describe(GROUP, SIGNAL);
    assert.equal(assumed[0]?.get("RoleSessionName"), expected);
  }
});

test("a role's session that AWS ends early is believed", async (context) => {
  const world = virtualWorld();
  const { assumed, client } = await startAccount(context, { world, lasts: 900_000 });
  await client().describe(GROUP, SIGNAL);
  await world.advance(601_000);
  await client().describe(GROUP, SIGNAL);
  assert.equal(assumed.length, 2);
});

test("a role is assumed anew after its credentials were refused", async (context) => {
  const world = virtualWorld();
  const { callers, refuse, client } = await startAccount(context, { world });
  await client().describe(GROUP, SIGNAL);
  for (const code of ["ExpiredToken", "RequestExpired", "AuthFailure"]) {
    refuse.ec2 = code;
    await failure(client().describe(GROUP, SIGNAL));
    refuse.ec2 = null;
    await client().describe(GROUP, SIGNAL);
  }
  refuse.ec2 = "UnauthorizedOperation";
  await failure(client().describe(GROUP, SIGNAL));
  refuse.ec2 = null;
  await client().describe(GROUP, SIGNAL);
  assert.deepEqual(callers, [
    "ASIA1",
    "ASIA1",
    "ASIA2",
    "ASIA2",
    "ASIA3",
    "ASIA3",
    "ASIA4",
    "ASIA4",
    "ASIA4",
  ]);
});

test("a role that may not be assumed is denied, and says by which operation", async (context) => {
  const world = virtualWorld();
  const { callers, refuse, client } = await startAccount(context, { world });
  refuse.sts = "AccessDenied";
  const error = await failure(client().describe(GROUP, SIGNAL));
  assert.deepEqual(
    [error.kind, error.code, error.operation],
    ["denied", "AccessDenied", "sts:AssumeRole"],
  );
  refuse.sts = "ThrottlingException";
  assert.equal((await failure(client().describe(GROUP, SIGNAL))).kind, "throttled");
  assert.deepEqual(callers, []);
});

test("assuming a role is part of the call's time and ends with its signal", async (context) => {
  const world = virtualWorld();
  const { assumed, refuse, client } = await startAccount(context, { world });
  refuse.hang = true;
  const error = await outlasting(world, client().describe(GROUP, SIGNAL), {
    reached: () => assumed.length > 0,
    ms: CALL_MS_MAX,
  });
  assert.deepEqual([error.kind, error.code], ["unavailable", "TimeoutError"]);
  const abort = new AbortController();
  const aborted = failure(client().describe(GROUP, abort.signal));
  await until(() => assumed.length === 2, "the call");
  abort.abort();
  assert.equal((await soon(aborted, "the end of an aborted call")).kind, "unavailable");
});
