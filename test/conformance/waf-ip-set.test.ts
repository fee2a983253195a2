import { testTarget } from "./target.ts";
import { ipSetStage } from "./waf-ip-set-stage.ts";

for (const usedBy of ["allow", "block"] as const) {
  testTarget({
    name: `aws/waf-ip-set of a rule that ${usedBy}s, over HTTP`,
    make: (options) => ipSetStage(usedBy, options),
    skip: [
      {
        reason: "WAF takes 10,000 addresses in a set, always",
        cases: ["observe() knows no capacity without a limit"],
      },
      {
        reason: "WAF takes no network of everybody",
        cases: ["observe() shows what people opened to everybody"],
      },
      {
        reason: "WAF shows a set in one answer, there are no pages",
        cases: [
          "observe() reads all pages",
          "observe() rejects when one page fails, rather than show the others",
        ],
      },
      {
        reason: "WAF replaces a set whole or not at all",
        cases: [
          "half a batch is seen by the next read, and the rest can be written",
          "what fits of a batch that does not may stay, and is seen by the next read",
        ],
      },
      {
        reason: "WAF has no code for a set that is busy: it is not there yet, or WAF is not well",
        cases: ["a busy backend is called busy, and takes the same write later"],
      },
    ],
  });
}
