// The subcommands. Each add_<name>() registers one whose action does the work and throws Error
// for what the user can mend.
#pragma once

#include "launch/command_line.h"

namespace tsugi {

void add_commands(Command app);

void add_bench(Command app);
void add_bench_decode(Command bench);  // below bench
void add_corpus(Command app);
void add_embed(Command app);
void add_evaluate(Command app);
void add_export(Command app);
void add_fill_mask(Command app);
void add_finetune(Command app);
void add_generate(Command app);
void add_import(Command app);
void add_inspect(Command app);
void add_ngrams(Command app);
void add_plan(Command app);
void add_prepare(Command app);
void add_prepare_images(Command app);
void add_pretrain(Command app);
void add_probe(Command app);
void add_sweep(Command app);
void add_tokenizer(Command app);

}  // namespace tsugi
