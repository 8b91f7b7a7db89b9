#include "launch/commands/commands.h"

namespace tsugi {

void add_commands(CLI::App& app, int& exit_code) {
  add_corpus(app, exit_code);
  add_tokenizer(app, exit_code);
  add_prepare(app, exit_code);
  add_plan(app, exit_code);
  add_pretrain(app, exit_code);
  add_evaluate(app, exit_code);
  add_generate(app, exit_code);
  add_finetune(app, exit_code);
  add_import(app, exit_code);
  add_export(app, exit_code);
  add_inspect(app, exit_code);
  add_sweep(app, exit_code);
}

}  // namespace tsugi
