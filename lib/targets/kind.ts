import type * as z from "zod/mini";
import type { TargetConfig } from "../core/list.ts";
import type { Owner } from "../core/marker.ts";
import type { Traits } from "../core/observation.ts";
import type { TargetContext } from "./connection.ts";
import type { Target } from "./target.ts";

/** What the rest of the corridor calls a slot, in parts: the registry puts them together. */
export interface SlotParts {
  /** Of the object: where it lives, for vendors with regions or projects, then its id. */
  readonly object: readonly string[];
  /** Of the name, after kind and id: a group, a permission. Absent where the object is the slot. */
  readonly slot?: string;
  /** Instead of the last part of `object`, where a name needs more than the id. */
  readonly id?: string;
}

/** One grant, in the words of AWS IAM and Alibaba RAM. */
export interface Grant {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  /** `Condition` of the statement, as the vendor writes it. */
  readonly condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/**
 * Exactly what a target needs, apart by what it is needed for: the webhook gets `read` and `add`,
 * the resync all three. Vendors without policies name the scopes of a token.
 */
export type Permissions =
  | {
      readonly dialect: "iam" | "ram";
      readonly read: readonly Grant[];
      readonly add: readonly Grant[];
      readonly remove: readonly Grant[];
    }
  | {
      readonly dialect: "scopes";
      readonly read: readonly string[];
      readonly add: readonly string[];
      readonly remove: readonly string[];
    };

/**
 * All of a kind of target that needs no SDK, one in every target's file. `S` is its settings as
 * `shape` parsed them, `C` the narrow client that its vendor's file in `lib/clouds` makes.
 */
export interface TargetKind<S, C> {
  /**
   * Strict object of the kind's own settings. Checks only and changes nothing, so that settings
   * which were stored can be parsed again.
   */
  readonly shape: z.ZodMiniObject;
  /** What no single setting shows: a sentence about what is wrong with all of them, or null. */
  check?(settings: S): string | null;
  /**
   * Facts about the backend; settings decide only what a backend has in several kinds. May be asked
   * about settings that are not parsed yet, and must not throw.
   */
  traits(settings: S): Traits;
  parts(settings: S, owner: Owner): SlotParts;
  /** `account` is the number of the account, or what stands for it in documentation. */
  permissions(settings: S, account: string): Permissions;
  make(config: TargetConfig, settings: S, client: C): Target;
}

/** Settings as the kind's own schema parsed them. */
type Settings = Readonly<Record<string, unknown>>;

/** A kind of target: what may be configured, what it is called, and how it is made. */
export interface Kind {
  /**
   * Strict object of the kind's settings and the common ones, without `kind`. Checks only and
   * changes nothing, so that settings which were stored can be parsed again.
   */
  readonly schema: z.ZodMiniType;
  traits(settings: Settings): Traits;
  /** `Target.name` and `Target.object` of parsed settings, without making the target. */
  identify(settings: Settings, owner: Owner): { readonly name: string; readonly object: string };
  permissions(settings: Settings, account: string): Permissions;
  /**
   * Loads the vendor's SDK. Rejects with TargetError, kind `invalid`, when the environment lacks
   * what the settings name.
   */
  create(config: TargetConfig, context: TargetContext): Promise<Target>;
}
