import { mergeInto } from "./kubernetes-patch.ts";
import type { KubeDraft, ObjectStore } from "./kubernetes-store.ts";

/** A pod as one thinks of it. */
export interface PodDraft {
  /** Of both families; none before its network is there. */
  readonly addresses?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Default `Running`. */
  readonly phase?: string;
  readonly hostNetwork?: boolean;
}

/** Pods at one's fingertips, in the same process; `where` is "namespace/name". */
export interface EmbeddedPods {
  /** Creates a pod, or changes the one of that name; returns its uid. */
  put(where: string, draft: PodDraft): string;
  /** Merges into the object (RFC 7396): for phases, labels, anything. */
  patch(where: string, patch: object): void;
  remove(where: string): void;
}

export function makePods(store: ObjectStore): EmbeddedPods {
  return {
    put(where, { addresses = [], labels = {}, phase = "Running", hostNetwork = false }) {
      const [namespace = "", name = ""] = where.split("/");
      const draft: KubeDraft = {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name, namespace, labels },
        spec: { hostNetwork, containers: [{ name: "main", image: "example" }] },
        status: { phase, podIP: addresses[0] ?? "", podIPs: addresses.map((ip) => ({ ip })) },
      };
      return store.put("pods", where, draft).metadata.uid;
    },
    patch(where, patch) {
      const before = store.read("pods", where);
      if (before === null) throw new Error(`Cannot patch the pod ${where}: there is none`);
      store.put("pods", where, mergeInto(before, patch) as KubeDraft);
    },
    remove(where) {
      store.remove("pods", where);
    },
  };
}
