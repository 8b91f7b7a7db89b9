// The subcommands. Each add_<name>() registers one whose callback does the work, sets the exit code, and throws Error
// for what the user can mend.
#pragma once

#include <CLI/CLI.hpp>

namespace tsugi {

void add_commands(CLI::App& app, int& exit_code);

void add_corpus(CLI::App& app, int& exit_code);
void add_evaluate(CLI::App& app, int& exit_code);
void add_export(CLI::App& app, int& exit_code);
void add_finetune(CLI::App& app, int& exit_code);
void add_generate(CLI::App& app, int& exit_code);
void add_import(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_plan(CLI::App& app, int& exit_code);
void add_prepare(CLI::App& app, int& exit_code);
void add_pretrain(CLI::App& app, int& exit_code);
void add_sweep(CLI::App& app, int& exit_code);
void add_tokenizer(CLI::App& app, int& exit_code);

}  // namespace tsugi
