import { targetErrorOf as errorOf, type WaysOut } from "../errors.ts";

/** Where the common ways out mislead; those of one kind of target come from itself. */
const WAYS_OUT: WaysOut = {
  codes: {
    MissingCredentials:
      "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or the target's " +
      "credentials; it is tried again",
  },
};

/** {@link errorOf} with the ways out that Alibaba Cloud has, and those of the kind. */
export function targetErrorOf(thrown: unknown, doing: string, own: WaysOut = {}): unknown {
  return errorOf(thrown, doing, {
    codes: { ...WAYS_OUT.codes, ...own.codes },
    kinds: { ...WAYS_OUT.kinds, ...own.kinds },
  });
}
