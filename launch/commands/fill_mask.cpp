#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "launch/commands/commands.h"
#include "launch/mask_token.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

struct FillMaskOptions {
  std::string checkpoint;
  std::string text;
  int64_t top_k = 5;
  int64_t mask_token = -1;
  int threads = 0;
  DeviceArguments computing;
  bool json = false;
};

/// The text's parts between the mask's names.
std::vector<std::string> split_at_masks(const std::string& text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size();) {
    size_t length = 0;
    for (const std::string_view name : kMaskNames) {
      if (std::string_view(text).substr(i).starts_with(name)) length = name.size();
    }
    if (length > 0) {
      parts.emplace_back();
      i += length;
    } else {
      parts.back() += text[i++];
    }
  }
  return parts;
}

/// The ids of a text in which "[MASK]" or "<mask>" stands for the mask token, with what the tokenizer puts around it.
std::vector<int32_t> encode_masked(const Tokenizer& tokenizer, const std::string& text, int32_t mask) {
  const std::vector<std::string> parts = split_at_masks(text);
  const std::optional<int32_t> own = mask_token_of(&tokenizer);
  if (own) {  // it knows what to do with spaces beside its own token
    std::string name;
    tokenizer.append_token(*own, name);
    std::string whole = parts.front();
    for (size_t i = 1; i < parts.size(); ++i) whole += name + parts[i];
    std::vector<int32_t> ids = tokenizer.encode(whole);
    std::ranges::replace(ids, *own, mask);
    return ids;
  }
  std::vector<int32_t> ids;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) ids.push_back(mask);
    const std::vector<int32_t> some = tokenizer.encode(parts[i], {.template_tokens = false});
    ids.insert(ids.end(), some.begin(), some.end());
  }
  return ids;
}

struct Candidate {
  int32_t id = 0;
  double probability = 0.0;
};

/// The `count` likeliest of logits [vocabulary], the lower id first among equals.
std::vector<Candidate> best_candidates(std::span<const float> logits, int64_t count) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto kept = std::min<std::ptrdiff_t>(count, static_cast<std::ptrdiff_t>(order.size()));
  const auto score = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::ranges::partial_sort(order, order.begin() + kept,
                            [&](int32_t a, int32_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; });
  double total = 0.0;
  const double largest = score(order.front());
  for (const float value : logits) total += std::exp(static_cast<double>(value) - largest);
  std::vector<Candidate> best;
  for (std::ptrdiff_t i = 0; i < kept; ++i) {
    const int32_t id = order[static_cast<size_t>(i)];
    best.push_back({id, std::exp(static_cast<double>(score(id)) - largest) / total});
  }
  return best;
}

std::string token_text(const Tokenizer& tokenizer, int32_t id) {
  std::string text;
  if (id < tokenizer.vocabulary()) tokenizer.append_token(id, text);
  return text;
}

int fill_mask(const FillMaskOptions& options) {
  const ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  const ModelConfig& model = opened.description.model;
  if (!model.bidirectional()) {
    throw Error(ExitCode::kData, opened.path + " holds a model that predicts the next token, not a hidden one",
                "tsugi generate continues texts");
  }
  opened.require_language_model();
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(opened.path, "fill-mask");
  const auto mask =
      static_cast<int32_t>(checkpoint_mask_token(options.mask_token, opened.description, tokenizer.get()));
  const std::vector<int32_t> ids = encode_masked(*tokenizer, options.text, mask);
  std::vector<int32_t> places;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == mask) places.push_back(static_cast<int32_t>(i));
    if (ids[i] >= model.vocabulary()) {
      throw Error(ExitCode::kData, opened.path + ": the tokenizer gives id " + std::to_string(ids[i]) +
                                       ", but the model has " + std::to_string(model.vocabulary()) + " tokens");
    }
  }
  if (places.empty()) throw Error(ExitCode::kUsage, "--text has no mask", "write [MASK] where a token is hidden");
  const auto length = static_cast<int64_t>(ids.size());
  if (length > model.context()) {
    throw Error(ExitCode::kUsage, "--text has " + std::to_string(length) + " tokens, but the model reads " +
                                      std::to_string(model.context()) + " at once");
  }
  const Context context = opened.context();
  const Tensor tokens = integers_of(context, {1, length}, [&](int32_t* to) { std::ranges::copy(ids, to); });
  const auto masks = static_cast<int64_t>(places.size());
  const Tensor rows = integers_of(context, {masks}, [&](int32_t* to) { std::ranges::copy(places, to); });
  Tape tape(context, false);
  const Tensor logits = on_host(
      context, opened.model->logits(context, select_rows(tape, opened.model->hidden(tape, tokens, {}), rows).value));

  nlohmann::ordered_json json;
  for (int64_t i = 0; i < masks; ++i) {
    const float* const row = logits.data<float>() + i * logits.shape()[1];
    nlohmann::ordered_json one = {{"position", places[static_cast<size_t>(i)]}};
    for (const Candidate& candidate : best_candidates({row, static_cast<size_t>(model.vocabulary())}, options.top_k)) {
      one["candidates"].push_back({{"id", candidate.id},
                                   {"token", token_text(*tokenizer, candidate.id)},
                                   {"probability", candidate.probability}});
    }
    json["masks"].push_back(std::move(one));
  }
  // A token may be a part of a character.
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  if (options.json) {
    std::cout << json.dump(-1, ' ', false, kReplace) << std::endl;
    return 0;
  }
  for (const auto& one : json["masks"]) {
    std::cout << "token " << one["position"] << "\n";
    for (const auto& candidate : one["candidates"]) {
      std::cout << "  " << candidate["probability"].get<double>() << "  "
                << candidate["token"].dump(-1, ' ', false, kReplace) << " (" << candidate["id"] << ")\n";
    }
  }
  std::cout.flush();
  return 0;
}

}  // namespace

void add_fill_mask(Command app) {
  auto options = std::make_shared<FillMaskOptions>();
  Command command = app.subcommand("fill-mask", "What an encoder puts in the place of hidden tokens");
  command.option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)").required();
  command.option("--text", options->text, "text in which [MASK] or <mask> stands for each hidden token").required();
  command.option("--top-k", options->top_k, "how many of the likeliest tokens to show")
      .show_default()
      .range(int64_t{1}, int64_t{1'000'000});
  command.option("--mask-token", options->mask_token, "its id; -1: what config.json or the tokenizer says")
      .show_default()
      .range(int64_t{-1}, int64_t{2'000'000'000});
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 4096);
  add_device_options(command, options->computing);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return fill_mask(*options); });
}

}  // namespace tsugi
