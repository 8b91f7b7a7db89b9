#include "launch/commands/commands.h"

namespace tsugi {

void add_commands(Command app) {
  add_corpus(app);
  add_tokenizer(app);
  add_prepare(app);
  add_prepare_images(app);
  add_ngrams(app);
  add_plan(app);
  add_pretrain(app);
  add_evaluate(app);
  add_generate(app);
  add_fill_mask(app);
  add_probe(app);
  add_embed(app);
  add_finetune(app);
  add_import(app);
  add_export(app);
  add_inspect(app);
  add_sweep(app);
  add_bench(app);
}

}  // namespace tsugi
