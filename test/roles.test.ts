import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Config } from "../lib/config.ts";
import { accountOf, FUNCTION_NAMES, wayOf } from "../lib/roles/needs.ts";
import type { PolicyDocument, Statement } from "../lib/roles/policy.ts";
import { functionName, type Roles, rolesOf } from "../lib/roles.ts";
import type { Grant } from "../lib/targets/kind.ts";
import { kinds } from "../lib/targets/registry.ts";
import { configOf, configs, EXAMPLES, S3, SOURCES } from "./roles-config.ts";

const ACCOUNT = "123456789012";
const RUNS = 300;
const GROUP = EXAMPLES.find(({ kind }) => kind === "aws/security-group") ?? {};
const ROLE = "arn:aws:iam::210987654321:role/allowlist";
const REVOKE = "ec2:RevokeSecurityGroupIngress";

/** One list `payments` of these targets, from a living cluster unless another source is named. */
function withTargets(
  targets: readonly object[],
  given: { readonly from?: object; readonly policy?: string; readonly store?: object } = {},
): Config {
  const { from = SOURCES.alive, policy = "sync", store = S3 } = given;
  return configOf({ payments: { from: [from], removal: { policy }, targets } }, { store });
}

function statementsOf(document: PolicyDocument | null | undefined): readonly Statement[] {
  return document?.Statement ?? [];
}

/** What a function may do by itself, by keys, and by the roles that it assumes. */
function statementsFor(roles: Roles, name: (typeof FUNCTION_NAMES)[number]): readonly Statement[] {
  const { iam, ram } = roles.functions[name];
  const keys = roles.keys.map((one) => one.functions[name] ?? null);
  const assumed = roles.assumed
    .filter(({ functions }) => functions.includes(name))
    .flatMap(({ policy }) => statementsOf(policy))
    .filter(({ Condition }) => {
      const sessions = Condition?.StringLike?.["aws:userid"];
      return sessions === undefined || sessions.includes(`*:${roles.functions[name].name}`);
    });
  return [...[iam, ram, ...keys].flatMap(statementsOf), ...assumed];
}

function actionsOf(statements: readonly Statement[]): ReadonlySet<string> {
  return new Set(statements.flatMap(({ Action }) => Action));
}

function permits(statements: readonly Statement[], action: string, resource: string): boolean {
  return statements.some(
    ({ Action, Resource }) => Action.includes(action) && Resource.includes(resource),
  );
}

/** Grants of every target of the configuration, by what they are for. */
function grantsOf(config: Config, verbs: readonly ("read" | "add" | "remove")[]) {
  return config.lists.flatMap((list) =>
    list.targets.flatMap((target): readonly Grant[] => {
      const { role } = wayOf(target.settings);
      const own = target.kind.startsWith("alibaba/") ? "*" : ACCOUNT;
      const account = role === null ? own : accountOf(role.arn);
      const needed = kinds[target.kind]?.permissions(target.settings, account);
      if (needed === undefined || needed.dialect === "scopes") return [];
      const wanted = verbs.filter((v) => v !== "remove" || list.removal.policy === "sync");
      return wanted.flatMap((verb) => needed[verb]);
    }),
  );
}

test("rolesOf() never lets the webhook do what only a removal needs, whatever is configured", () => {
  let removals = 0;
  fc.assert(
    fc.property(configs, (config) => {
      const roles = rolesOf(config, { account: ACCOUNT });
      const kept = new Set(grantsOf(config, ["read", "add"]).flatMap(({ actions }) => actions));
      const only = grantsOf(config, ["remove"])
        .flatMap(({ actions }) => actions)
        .filter((action) => !kept.has(action));
      removals += only.length;
      // RAM cannot tell apart who assumed a role: that is said, and no other way leads there.
      const shared = roles.assumed.filter(
        ({ dialect, functions }) => dialect === "ram" && functions.includes("webhook"),
      );
      for (const { arn } of shared) assert(roles.notes.some((note) => note.includes(arn)));
      const told = { ...roles, assumed: roles.assumed.filter((one) => !shared.includes(one)) };
      const allowed = actionsOf(statementsFor(told, "webhook"));
      for (const action of [...only, "s3:DeleteObject", "oss:DeleteObject"]) {
        assert(!allowed.has(action), action);
      }
    }),
    { numRuns: RUNS },
  );
  assert(removals > RUNS / 4, `${removals} actions that only remove`);
});

test("rolesOf() lets the resync do all that the targets need, and nobody anything else", () => {
  fc.assert(
    fc.property(configs, (config) => {
      const roles = rolesOf(config, { account: ACCOUNT });
      const needed = grantsOf(config, ["read", "add", "remove"]);
      const allowed = statementsFor(roles, "resync");
      for (const { actions, resources } of needed) {
        for (const action of actions) {
          for (const resource of resources) {
            assert(permits(allowed, action, resource), `${action} on ${resource}`);
          }
        }
      }
      const known = new Set(needed.flatMap(({ actions }) => actions));
      for (const name of FUNCTION_NAMES) {
        for (const action of actionsOf(statementsFor(roles, name))) {
          assert(known.has(action) || /^(s3|oss|sts):|:Describe(Subnets|VSwitches)$/.test(action));
        }
      }
    }),
    { numRuns: RUNS },
  );
});

test("rolesOf() names every resource of what can write, and no action by a pattern", () => {
  fc.assert(
    fc.property(configs, (config) => {
      const roles = rolesOf(config, { account: ACCOUNT });
      for (const name of FUNCTION_NAMES) {
        for (const { Action, Resource } of statementsFor(roles, name)) {
          for (const action of Action) assert(!action.includes("*"), action);
          if (!Resource.includes("*")) continue;
          for (const action of Action) assert.match(action, /^(ec2|vpc):Describe/);
        }
      }
    }),
    { numRuns: RUNS },
  );
});

test("rolesOf() gives the same for targets and lists in any order", () => {
  fc.assert(
    fc.property(configs, (config) => {
      const turned: Config = {
        ...config,
        lists: config.lists
          .map((list) => ({ ...list, targets: list.targets.toReversed() }))
          .toReversed(),
      };
      assert.equal(JSON.stringify(rolesOf(turned)), JSON.stringify(rolesOf(config)));
    }),
    { numRuns: 100 },
  );
});

test("rolesOf() keeps the read function from writing, and the store whole from the webhook", () => {
  const roles = rolesOf(withTargets([GROUP]), { account: ACCOUNT });
  assert.deepEqual([...actionsOf(statementsFor(roles, "read"))].toSorted(), [
    "s3:GetObject",
    "s3:ListBucket",
  ]);
  const put = statementsFor(roles, "webhook").find(({ Action }) => Action.includes("s3:PutObject"));
  assert.deepEqual(put?.Condition, { Null: { "s3:if-none-match": "false" } });
  assert.match(JSON.stringify(roles.bucketPolicy), /role\/kube-allowlist-acme-resync"/);
});

test("rolesOf() gives the webhook nothing for lists of which no living cluster speaks", () => {
  for (const from of [SOURCES.static, SOURCES.gone]) {
    const roles = rolesOf(withTargets([GROUP], { from }), { account: ACCOUNT });
    assert(![...actionsOf(statementsFor(roles, "webhook"))].some((one) => one.startsWith("ec2:")));
    assert(actionsOf(statementsFor(roles, "resync")).has(REVOKE));
  }
});

test("rolesOf() gives nobody a removal on lists that only add", () => {
  const roles = rolesOf(withTargets([GROUP], { policy: "add-only" }), { account: ACCOUNT });
  assert(!JSON.stringify(roles).includes("Revoke"));
});

test("rolesOf() gives the resync alone the subnets", () => {
  const from = { subnets: [{ aws: "subnet-0a1b", region: "eu-west-1" }] };
  const roles = rolesOf(withTargets([GROUP], { from }));
  const holders = FUNCTION_NAMES.filter((name) =>
    actionsOf(statementsFor(roles, name)).has("ec2:DescribeSubnets"),
  );
  assert.deepEqual(holders, ["resync"]);
});

test("rolesOf() parts a role of another account by whose session it is, and trusts nobody else", () => {
  const target = { ...GROUP, role: { arn: ROLE, externalId: "acme-1" } };
  const roles = rolesOf(withTargets([target]), { account: ACCOUNT });
  const [assumed, ...others] = roles.assumed;
  assert(assumed !== undefined && others.length === 0);
  const group = /security-group\/sg-[0-9a-f]+/.exec(JSON.stringify(assumed.policy))?.[0];
  const resource = [`arn:aws:ec2:eu-west-1:210987654321:${group}`];
  assert.deepEqual(statementsOf(assumed.policy).slice(-1), [
    {
      Effect: "Allow",
      Action: [REVOKE],
      Resource: resource,
      Condition: { StringLike: { "aws:userid": ["*:kube-allowlist-acme-resync"] } },
    },
  ]);
  const trusted = (["webhook", "resync"] as const).map((name) => ({
    Effect: "Allow",
    Principal: { AWS: [`arn:aws:iam::${ACCOUNT}:role/${functionName("acme", name)}`] },
    Action: "sts:AssumeRole",
    Condition: {
      StringEquals: {
        "sts:RoleSessionName": functionName("acme", name),
        "sts:ExternalId": ["acme-1"],
      },
    },
  }));
  assert.deepEqual(assumed.trust, { Version: "2012-10-17", Statement: trusted });
  for (const name of ["webhook", "resync"] as const) {
    const own = statementsOf(roles.functions[name].iam);
    assert(permits(own, "sts:AssumeRole", ROLE));
    // What the role does, the function does not do by itself.
    assert(![...actionsOf(own)].some((action) => action.startsWith("ec2:")));
  }
});

test("rolesOf() asks for no session's name where only the resync assumes a role", () => {
  const target = { ...GROUP, role: ROLE };
  const roles = rolesOf(withTargets([target], { from: SOURCES.static }), { account: ACCOUNT });
  assert.deepEqual(roles.assumed[0]?.functions, ["resync"]);
  assert(!JSON.stringify(roles.assumed[0]?.policy).includes("aws:userid"));
  assert.equal(roles.assumed[0]?.trust.Statement.length, 1);
});

test("rolesOf() writes the ARNs of China and GovCloud, and says what never crosses a partition", () => {
  for (const [region, partition] of [
    ["cn-north-1", "aws-cn"],
    ["us-gov-west-1", "aws-us-gov"],
  ] as const) {
    const role = `arn:${partition}:iam::210987654321:role/allowlist`;
    const targets = [
      { ...GROUP, region },
      { ...GROUP, region, id: "sg-0b", role },
    ];
    const store = { ...S3, region };
    const roles = rolesOf(withTargets(targets, { store }), { account: ACCOUNT });
    assert.deepEqual(roles.notes, []);
    const arns = JSON.stringify(roles).match(/arn:[a-z-]+:/g) ?? [];
    assert.deepEqual([...new Set(arns)], [`arn:${partition}:`]);
    const elsewhere = rolesOf(withTargets(targets), { account: ACCOUNT });
    assert.equal(elsewhere.notes.length, 2);
    assert.match(elsewhere.notes.join("\n"), /Cannot assume .*\nCannot reach /);
  }
});

test("rolesOf() puts a placeholder where the account is not known", () => {
  const text = JSON.stringify(rolesOf(withTargets([GROUP])).functions);
  assert.match(text, /arn:aws:ec2:eu-west-1:ACCOUNT_ID:security-group/);
});

test("rolesOf() keeps keys apart that the configuration names, with the roles they assume", () => {
  const rds = EXAMPLES.find(({ kind }) => kind === "alibaba/rds") ?? {};
  const credentials = { accessKeyId: "env:A", accessKeySecret: "env:B" };
  const role = "acs:ram::1234567890123456:role/allowlist";
  const roles = rolesOf(withTargets([{ ...rds, credentials, role }]));
  assert.equal(roles.functions.webhook.ram, null);
  assert.deepEqual(
    roles.keys.map(({ references }) => references),
    [["env:A", "env:B"]],
  );
  const resource = "acs:ram:*:1234567890123456:role/allowlist";
  assert(permits(statementsOf(roles.keys[0]?.functions.webhook), "sts:AssumeRole", resource));
  assert.match(JSON.stringify(roles.assumed[0]?.trust), /"acs:ram::ACCOUNT_ID:user\/USER"/);
});

const OSS = { kind: "oss", bucket: "acme", region: "cn-beijing" };
const RAM_ROLE = "acs:ram::1234567890123456:role/allowlist";

function trusted(roles: Roles) {
  return (roles.assumed[0]?.trust.Statement ?? []) as readonly {
    readonly Principal: object;
    readonly Condition?: { readonly StringEquals: object };
  }[];
}

test("rolesOf() has functions of Alibaba Cloud trusted at AWS as users of their own, and says which to make", () => {
  const roles = rolesOf(withTargets([{ ...GROUP, role: ROLE }], { store: OSS }), {
    account: ACCOUNT,
  });
  const names = ["webhook", "resync"].map((name) => `kube-allowlist-acme-${name}`);
  assert.deepEqual(
    trusted(roles).map(({ Principal, Condition }) => [Principal, Condition?.StringEquals]),
    names.map((name) => [
      { AWS: [`arn:aws:iam::${ACCOUNT}:user/${name}`] },
      { "sts:RoleSessionName": name },
    ]),
  );
  const [note = "", ...others] = roles.notes;
  assert.deepEqual(others, []);
  assert.match(note, /^Cannot give the functions a role at AWS.*_ACCESS_KEY.* apart/);
  for (const name of names) assert(note.includes(name), name);
  // Users of China have keys of China.
  const china = { ...GROUP, region: "cn-north-1", role: ROLE.replace("aws", "aws-cn") };
  const there = rolesOf(withTargets([china], { store: OSS }));
  assert.match(JSON.stringify(trusted(there)), /"arn:aws-cn:iam::ACCOUNT_ID:user\//);
  assert.equal(there.notes.length, 1);
});

test("rolesOf() has functions of AWS trusted at Alibaba Cloud as the one user whose keys they share", () => {
  const rds = EXAMPLES.find(({ kind }) => kind === "alibaba/rds") ?? {};
  const roles = rolesOf(withTargets([{ ...rds, role: RAM_ROLE }]), {
    alibabaAccount: "6543210987654321",
  });
  assert.deepEqual(
    trusted(roles).map(({ Principal }) => Principal),
    [{ RAM: ["acs:ram::6543210987654321:user/kube-allowlist-acme-resync"] }],
  );
  const [users = "", session = ""] = roles.notes;
  assert.match(users, /^Cannot give the functions a role at Alibaba Cloud.*-resync.*webhook's may/);
  assert.match(session, /^Cannot keep the webhook from removing through/);
});

test("rolesOf() speaks of no users where the functions' own cloud knows them, or keys are named", () => {
  const rds = EXAMPLES.find(({ kind }) => kind === "alibaba/rds") ?? {};
  const credentials = { accessKeyId: "env:A", accessKeySecret: "env:B" };
  for (const config of [
    withTargets([GROUP, { ...GROUP, id: "sg-0b", role: ROLE }, { ...rds, credentials }]),
    withTargets([rds], { store: OSS }),
  ]) {
    assert.deepEqual(rolesOf(config, { account: ACCOUNT }).notes, []);
  }
  const own = rolesOf(withTargets([{ ...rds, role: RAM_ROLE }], { store: OSS }));
  assert.deepEqual(
    trusted(own).map(({ Principal }) => Principal),
    ["webhook", "resync"].map((name) => ({
      RAM: [`acs:ram::ACCOUNT_ID:role/kube-allowlist-acme-${name}`],
    })),
  );
});

test("rolesOf() lists the scopes of tokens, by where they are kept", () => {
  const firewall = EXAMPLES.find(({ kind }) => kind === "linode/firewall") ?? {};
  const other = { ...firewall, id: 4712, token: "env:OTHER" };
  const { tokens } = rolesOf(withTargets([firewall, other]));
  assert.deepEqual(
    tokens.map(({ vendor, references }) => [vendor, ...references]),
    [
      ["linode", "env:LINODE_TOKEN"],
      ["linode", "env:OTHER"],
    ],
  );
  assert.deepEqual(tokens[0]?.functions.webhook, ["firewall:read_only", "firewall:read_write"]);
});

test("rolesOf() says when a policy is longer than a role can hold", () => {
  const targets = (digit: string) =>
    Array.from({ length: 75 }, (_, index) => ({
      ...GROUP,
      id: `sg-${digit}${index.toString(16).padStart(16, "0")}`,
    }));
  const list = { from: [SOURCES.alive], removal: { policy: "sync" } };
  const config = configOf({
    a: { ...list, targets: targets("a") },
    b: { ...list, targets: targets("b") },
  });
  const { notes } = rolesOf(config, { account: ACCOUNT });
  assert.match(notes.join("\n"), /Cannot put the policy of kube-allowlist-acme-resync into its r/);
  const some = { ...list, targets: [...targets("a"), ...targets("b").slice(0, 25)] };
  const users = rolesOf(configOf({ a: some }, { store: OSS }), { account: ACCOUNT }).notes;
  assert.match(users.join("\n"), /Cannot put the policy of kube-allowlist-acme-resync into its u/);
});
