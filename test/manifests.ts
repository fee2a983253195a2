import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";

/** What tests look at in a manifest; everything else is left as it is. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly automountServiceAccountToken?: boolean;
  readonly resources?: readonly string[];
  readonly patches?: readonly { readonly path?: string }[];
  readonly roleRef?: { readonly apiGroup?: string; readonly kind: string; readonly name: string };
  readonly rules?: readonly PolicyRule[];
  readonly subjects?: readonly object[];
  readonly spec?: {
    readonly replicas?: number;
    readonly maxUnavailable?: number;
    readonly strategy?: { readonly rollingUpdate?: object };
    readonly selector?: LabelSelector;
    readonly podSelector?: LabelSelector;
    readonly template?: {
      readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
  };
}

interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
}

interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

export interface PodSpec {
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly dnsPolicy?: string;
  readonly priorityClassName?: string;
  readonly nodeSelector?: object;
  readonly affinity?: object;
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
  readonly securityContext?: {
    readonly runAsNonRoot?: boolean;
    readonly runAsUser?: number;
    readonly seccompProfile?: { readonly type: string };
    readonly sysctls?: readonly object[];
  };
  readonly tolerations?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly effect?: string;
    readonly tolerationSeconds?: number;
  }[];
  readonly topologySpreadConstraints?: readonly { readonly whenUnsatisfiable: string }[];
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
}

interface Container {
  readonly name: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort?: number;
    readonly hostPort?: number;
  }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly securityContext?: {
    readonly privileged?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly readOnlyRootFilesystem?: boolean;
    readonly runAsUser?: number;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
  };
}

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
}

interface Volume {
  readonly name: string;
  readonly projected?: {
    readonly sources: readonly {
      readonly serviceAccountToken?: {
        readonly path: string;
        readonly audience?: string;
        readonly expirationSeconds?: number;
      };
      readonly configMap?: { readonly items?: readonly { readonly path: string }[] };
      readonly downwardAPI?: { readonly items?: readonly { readonly path: string }[] };
    }[];
  };
  readonly [source: string]: unknown;
}

/** Every document of a folder's YAML files, in the order of their names. */
export function manifestsOf(
  folder: string,
  names: readonly string[] = readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .toSorted(),
): readonly Manifest[] {
  return names.flatMap((name) => {
    const text = readFileSync(join(folder, name), "utf8");
    return parseAllDocuments(text).map((document) => {
      if (document.errors.length > 0) throw new Error(`Cannot read ${name}: ${document.errors[0]}`);
      return document.toJS() as Manifest;
    });
  });
}

export function podSpecOf(deployment: Manifest): PodSpec {
  const pod = deployment.spec?.template?.spec;
  if (pod === undefined) throw new Error(`Cannot find the pod of ${deployment.metadata.name}`);
  return pod;
}

const VOLUMES: ReadonlySet<string> = new Set([
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "image",
  "persistentVolumeClaim",
  "projected",
  "secret",
]);
const CAPABILITIES_ADDED = ["NET_BIND_SERVICE"];

/**
 * What of a pod breaks the restricted Pod Security Standard, as
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/ has it.
 */
export function restrictedViolations(pod: PodSpec): readonly string[] {
  const { securityContext: whole = {} } = pod;
  const violations: string[] = [];
  const expect = (holds: boolean, sentence: string) => {
    if (!holds) violations.push(sentence);
  };
  expect(!(pod.hostNetwork || pod.hostPID || pod.hostIPC), "shares a namespace with the host");
  expect(whole.runAsNonRoot === true, "may run as root");
  expect(whole.runAsUser !== 0, "runs as root");
  expect((whole.sysctls ?? []).length === 0, "sets sysctls");
  const profile = whole.seccompProfile?.type ?? "";
  expect(["RuntimeDefault", "Localhost"].includes(profile), "has no seccomp profile");
  for (const { name, ...source } of pod.volumes ?? []) {
    expect(
      Object.keys(source).every((kind) => VOLUMES.has(kind)),
      `mounts ${name} from elsewhere`,
    );
  }
  for (const { name, ports, securityContext: own } of [
    ...pod.containers,
    ...(pod.initContainers ?? []),
  ]) {
    expect(own?.allowPrivilegeEscalation === false, `${name} may gain privileges`);
    expect(own?.privileged !== true, `${name} is privileged`);
    expect(own?.runAsUser !== 0, `${name} runs as root`);
    const { drop = [], add = [] } = own?.capabilities ?? {};
    expect(drop.includes("ALL"), `${name} keeps capabilities`);
    expect(
      add.every((capability) => CAPABILITIES_ADDED.includes(capability)),
      `${name} adds some`,
    );
    expect(
      (ports ?? []).every(({ hostPort }) => hostPort === undefined),
      `${name} takes a host port`,
    );
  }
  return violations;
}

/**
 * One verb on one resource, everywhere (`*`) or in one namespace, on all (`*`) or one of a name.
 */
export interface Right {
  readonly place: string;
  /** As kubectl writes it: `nodes`, `leases.coordination.k8s.io`. */
  readonly resource: string;
  readonly name: string;
  readonly verb: string;
}

/** What the bound roles of some manifests allow together, each once, sorted. */
export function rightsOf(manifests: readonly Manifest[]): readonly Right[] {
  const rights = manifests
    .filter(({ kind }) => kind.endsWith("RoleBinding"))
    .flatMap(({ roleRef, metadata }) => {
      const role = manifests.find(
        (one) =>
          one.kind === roleRef?.kind &&
          one.metadata.name === roleRef.name &&
          one.metadata.namespace === metadata.namespace,
      );
      if (role === undefined) throw new Error(`Cannot find the role of ${metadata.name}`);
      return (role.rules ?? []).flatMap((rule) => rightsOfRule(rule, metadata.namespace ?? "*"));
    });
  return sortRights(rights);
}

function rightsOfRule(rule: PolicyRule, place: string): readonly Right[] {
  return rule.resources.flatMap((kind) =>
    rule.apiGroups.flatMap((group) =>
      (rule.resourceNames ?? ["*"]).flatMap((name) =>
        rule.verbs.map((verb) => {
          const resource = group === "" ? kind : `${kind}.${group}`;
          return { place, resource, name, verb };
        }),
      ),
    ),
  );
}

/**
 * The rights that a page says a folder gives: the table below the heading that ends in the folder's
 * name, with the columns place, resource, name and verbs.
 */
export function documentedRights(page: string, folder: string): readonly Right[] {
  const section = page.split(/^#+ /m).find((one) => one.includes(`infra/kustomize/${folder}\`\n`));
  const rows = [...(section ?? "").matchAll(/^\| (.+) \|$/gm)].map(([, row = ""]) =>
    row.split(" | ").map((cell) => cell.replaceAll("`", "").trim()),
  );
  return sortRights(
    rows.slice(1).flatMap(([place = "", resource = "", name = "", verbs = ""]) =>
      verbs.split(", ").map((verb) => ({
        place: place === "everywhere" ? "*" : place,
        resource,
        name: name === "any" ? "*" : name,
        verb,
      })),
    ),
  );
}

/** Each once, sorted. */
export function sortRights(rights: readonly Right[]): readonly Right[] {
  const byText = new Map(
    rights.map((right) => [[right.place, right.resource, right.name, right.verb].join(" "), right]),
  );
  return [...byText].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, right]) => right);
}
