#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/model/generator.h"
#include "launch/commands/commands.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt;
  std::vector<int32_t> prompt_ids;
  int64_t tokens = 100;
  Sampling sampling;
  int threads = 0;
  bool json = false;
};

int run_generate(const GenerateOptions& options) {
  ModelFolder opened = open_model(options.checkpoint, options.threads);
  opened.require_language_model();
  const bool text_prompt = options.prompt_ids.empty();
  std::unique_ptr<Tokenizer> tokenizer;
  if (text_prompt) tokenizer = open_tokenizer(opened.path, "generate");
  const std::vector<int32_t> prompt = text_prompt ? tokenizer->encode(options.prompt) : options.prompt_ids;
  if (prompt.empty()) throw Error(ExitCode::kUsage, "--prompt is empty", "give at least one symbol to continue");
  for (const int32_t id : prompt) {
    if (id >= 0 && id < opened.description.model.vocabulary()) continue;
    throw Error(ExitCode::kUsage, "the prompt has the id " + std::to_string(id) + ", the model a vocabulary of " +
                                      std::to_string(opened.description.model.vocabulary()));
  }
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int32_t> ids = generate(opened.context(), *opened.model, prompt, options.tokens, options.sampling);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const std::string text = text_prompt ? tokenizer->decode(ids) : std::string();
  if (options.json) {
    nlohmann::ordered_json json;
    if (text_prompt) json["text"] = text;
    json["ids"] = ids;
    json["tokens_per_second"] = static_cast<double>(ids.size()) / seconds.count();
    // A sampled byte sequence may end inside a character: replaced, as terminals do.
    std::cout << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  } else if (!text_prompt) {
    for (const int32_t id : ids) std::cout << id << ' ';
    std::cout << std::endl;
  } else {
    std::cout << options.prompt << text << std::endl;
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text with a checkpoint");
  command->add_option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)")->required();
  CLI::Option_group* prompt = command->add_option_group("prompt");
  prompt->add_option("--prompt", options->prompt, "text to continue");
  prompt->add_option("--prompt-ids", options->prompt_ids, "token ids to continue, as 1,2,3: no tokenizer is needed")
      ->delimiter(',');
  prompt->require_option(1);
  command->add_option("--tokens", options->tokens, "how many tokens")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--temperature", options->sampling.temperature, "0: always the most likely token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  command->add_option("--top-k", options->sampling.top_k, "keep the k most likely tokens; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--top-p", options->sampling.top_p, "keep the smallest set of tokens with this probability")
      ->capture_default_str()
      ->check(CLI::Range(1e-9, 1.0));
  command->add_option("--seed", options->sampling.seed, "of the random draws")->capture_default_str();
  command->add_option("--threads", options->threads, "0: all CPUs")->capture_default_str()->check(CLI::Range(0, 4096));
  command->add_flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command->callback([options, &exit_code] { exit_code = run_generate(*options); });
}

}  // namespace tsugi
