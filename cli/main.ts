import { runProcess } from "./process.ts";
import { runProgram } from "./program.ts";

void runProcess(runProgram);
