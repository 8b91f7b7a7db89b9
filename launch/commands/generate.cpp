#include <algorithm>
#include <chrono>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/config/families.h"
#include "core/data/json.h"
#include "core/data/prompt_file.h"
#include "core/model/generator.h"
#include "launch/commands/commands.h"
#include "launch/model_folder.h"
#include "launch/pair_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::vector<std::string> prompts;
  std::string prompt_file;
  std::vector<int32_t> prompt_ids;
  int64_t samples = 1;
  int64_t batch = 16;
  int64_t tokens = 100;
  bool ignore_end = false;
  Sampling sampling;
  int threads = 0;
  DeviceArguments computing;
  bool json = false;
};

/// The tokens by which the model's texts end: those of its config.json, and its tokenizer's.
std::vector<int32_t> end_tokens(const HuggingfaceModel& description, const Tokenizer* tokenizer) {
  std::vector<int32_t> ids;
  if (const auto found = description.token_ids.find("eos_token_id"); found != description.token_ids.end()) {
    const JsonValue value = parse_json(found->second, "eos_token_id");
    const auto add = [&](const JsonValue& id) { ids.push_back(static_cast<int32_t>(id.as_int(0, INT32_MAX))); };
    if (value.is_array()) {
      for (const JsonValue& id : value.elements()) add(id);
    } else if (!value.is_null()) {
      add(value);
    }
  }
  const std::optional<int32_t> usual = tokenizer == nullptr ? std::nullopt : tokenizer->end_of_text();
  if (usual) ids.push_back(*usual);
  return ids;
}

struct Generated {
  std::vector<Continuation> continuations;  ///< of each prompt its samples
  double tokens_per_second = 0.0;
};

/// Sample s of a prompt is what the seed SEED + s gives.
Generated generate_all(const GenerateOptions& options, const ModelFolder& opened,
                       const std::vector<std::vector<int32_t>>& prompts, const GenerationOptions& how) {
  std::vector<GenerationRow> rows;
  for (const std::vector<int32_t>& prompt : prompts) {
    for (int64_t sample = 0; sample < options.samples; ++sample) {
      rows.push_back({prompt, options.sampling.seed + static_cast<uint64_t>(sample)});
    }
  }
  const auto start = std::chrono::steady_clock::now();
  Generated all;
  size_t tokens = 0;
  const auto batch = static_cast<size_t>(options.batch);
  for (size_t begin = 0; begin < rows.size(); begin += batch) {
    const std::vector<GenerationRow> together(
        rows.begin() + static_cast<std::ptrdiff_t>(begin),
        rows.begin() + static_cast<std::ptrdiff_t>(std::min(begin + batch, rows.size())));
    for (Continuation& one : generate_rows(opened.context(), *opened.model, together, how)) {
      tokens += one.ids.size();
      all.continuations.push_back(std::move(one));
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  all.tokens_per_second = static_cast<double>(tokens) / seconds.count();
  return all;
}

/// The model may have more ids than its tokenizer: these are no text.
std::string text_of(const std::vector<int32_t>& ids, const Tokenizer& tokenizer) {
  std::vector<int32_t> known;
  std::ranges::copy_if(ids, std::back_inserter(known), [&](int32_t id) { return id < tokenizer.vocabulary(); });
  return tokenizer.decode(known, true);
}

nlohmann::ordered_json to_json(const Continuation& one, const Tokenizer* tokenizer) {
  nlohmann::ordered_json json;
  if (tokenizer != nullptr) json["text"] = text_of(one.ids, *tokenizer);
  json["ids"] = one.ids;
  json["stopped"] = one.stopped;
  json["context_restarts"] = one.restarts;
  return json;
}

void print_json(const GenerateOptions& options, const Generated& all, const Tokenizer* tokenizer) {
  nlohmann::ordered_json json;
  if (all.continuations.size() == 1) {
    json = to_json(all.continuations[0], tokenizer);
  } else {
    const auto samples = static_cast<size_t>(options.samples);
    for (size_t i = 0; i < all.continuations.size(); ++i) {
      nlohmann::ordered_json one = {{"prompt", i / samples}, {"sample", i % samples}};
      one.update(to_json(all.continuations[i], tokenizer));
      json["continuations"].push_back(std::move(one));
    }
  }
  json["tokens_per_second"] = all.tokens_per_second;
  // A sampled byte sequence may end inside a character: replaced, as terminals do.
  std::cout << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
}

void print_text(const GenerateOptions& options, const std::vector<std::string>& prompts, const Generated& all,
                const Tokenizer* tokenizer) {
  const auto samples = static_cast<size_t>(options.samples);
  for (size_t i = 0; i < all.continuations.size(); ++i) {
    if (all.continuations.size() > 1) {
      std::cout << "--- prompt " << i / samples + 1 << ", sample " << i % samples + 1 << "\n";
    }
    if (tokenizer != nullptr) {
      std::cout << prompts[i / samples] << text_of(all.continuations[i].ids, *tokenizer);
    } else {
      for (const int32_t id : all.continuations[i].ids) std::cout << id << ' ';
    }
    std::cout << std::endl;
  }
}

int run_generate(const GenerateOptions& options) {
  const std::vector<std::string> prompts =
      options.prompt_file.empty() ? options.prompts : read_prompts(options.prompt_file);
  const ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  opened.require_writing_model("generate");
  const bool answers = has_decoder(opened.description.model);  // what it writes does not go on with the prompt
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<std::vector<int32_t>> ids;
  if (options.prompt_ids.empty()) {
    tokenizer = open_tokenizer(opened.path, "generate");
    const std::vector<int32_t> ends = end_tokens(opened.description, tokenizer.get());
    for (const std::string& prompt : prompts) {
      ids.push_back(tokenizer->encode(prompt));
      if (answers && !ends.empty()) ids.back() = ended(std::move(ids.back()), ends.front());
    }
  } else {
    ids.push_back(options.prompt_ids);
  }
  const int64_t vocabulary = opened.description.model.vocabulary();
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string which = ids.size() == 1 ? "the prompt" : "prompt " + std::to_string(i + 1);
    if (ids[i].empty()) throw Error(ExitCode::kUsage, which + " is empty", "give at least one symbol to continue");
    for (const int32_t id : ids[i]) {
      if (id >= 0 && id < vocabulary) continue;
      throw Error(ExitCode::kUsage, which + " has the id " + std::to_string(id) + ", the model a vocabulary of " +
                                        std::to_string(vocabulary));
    }
  }
  GenerationOptions how;
  how.count = options.tokens;
  how.sampling = options.sampling;
  if (!options.ignore_end) how.stop = end_tokens(opened.description, tokenizer.get());

  // One text is shown as it comes.
  const bool stream = !options.json && tokenizer != nullptr && ids.size() == 1 && options.samples == 1;
  const std::vector<std::string> shown = answers ? std::vector<std::string>(prompts.size()) : prompts;
  std::optional<StreamDecoder> decoder;
  if (stream) {
    decoder.emplace(*tokenizer, false, true);
    std::cout << shown[0] << std::flush;
    how.on_token = [&](size_t /*row*/, int32_t token) {
      // The model may have more ids than its tokenizer.
      std::cout << (token < tokenizer->vocabulary() ? decoder->push(token) : "") << std::flush;
    };
  }
  const Generated all = generate_all(options, opened, ids, how);
  if (options.json) {
    print_json(options, all, tokenizer.get());
    return 0;
  }
  if (stream) {
    std::cout << decoder->finish() << std::endl;
  } else {
    print_text(options, shown, all, tokenizer.get());
  }
  if (std::ranges::any_of(all.continuations, [](const Continuation& one) { return one.restarts > 0; })) {
    std::cerr << "note: the context of " << opened.description.model.context()
              << " tokens was full; the model went on from the last half of it\n";
  }
  return 0;
}

}  // namespace

void add_generate(Command app) {
  auto options = std::make_shared<GenerateOptions>();
  Command command = app.subcommand(
      "generate", "Continue a text with a checkpoint; of an encoder with a decoder: what it says to a text");
  command.option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)").required();
  Command prompt = command.group("prompt", "What to continue");
  prompt.option("--prompt", options->prompts, "text to continue; several may be given, each with its own --prompt")
      .one_each();
  prompt.option("--prompts", options->prompt_file, "file of prompts, one per line; .jsonl: of {\"prompt\": …} lines");
  prompt.option("--prompt-ids", options->prompt_ids, "token ids to continue, as 1,2,3: no tokenizer is needed")
      .separated(',');
  prompt.require_one();
  command.option("--samples", options->samples, "continuations of each prompt, with the seeds SEED, SEED + 1, …")
      .show_default()
      .range(int64_t{1}, int64_t{1} << 20);
  command.option("--batch", options->batch, "how many are continued at once")
      .show_default()
      .range(int64_t{1}, int64_t{1} << 16);
  command.option("--tokens,--max-tokens", options->tokens, "how many tokens at most")
      .show_default()
      .range(int64_t{1}, int64_t{1} << 30);
  command.flag("--ignore-end", options->ignore_end, "go on behind an end of text");
  command.option("--temperature", options->sampling.temperature, "0: always the most likely token")
      .show_default()
      .range(0.0, 1e6);
  command.option("--top-k", options->sampling.top_k, "keep the k most likely tokens; 0: all")
      .show_default()
      .non_negative();
  command.option("--top-p", options->sampling.top_p, "keep the smallest set of tokens with this probability")
      .show_default()
      .range_above(0.0, 1.0);
  command.option("--seed", options->sampling.seed, "of the random draws").show_default();
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 4096);
  add_device_options(command, options->computing);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return run_generate(*options); });
}

}  // namespace tsugi
