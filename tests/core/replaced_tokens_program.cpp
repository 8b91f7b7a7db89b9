// Replaced-token detection on a Markov chain with a generator that knows how often each token occurs and no more: who
// knows the chain tells replaced tokens by the forward-backward algorithm, and nobody does better. Fails when the
// trained discriminator orders pairs of a replaced and an original token less often right by more than .02 (the area
// under the curve of hits and false alarms). Prints a table. Arguments change the configuration, as --set does.
#include <unistd.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <iostream>

#include "core/config/config.h"
#include "core/objective/replaced_token_detection.h"
#include "core/optim/schedule.h"
#include "core/train/engine.h"

namespace tsugi {
namespace {

constexpr int kStates = 8;
constexpr int64_t kChainLength = 24;  ///< of a row; a sixth of it is hidden
constexpr double kHidden = 4.0 / 24.0;
constexpr int64_t kTrainTokens = 400'000;
constexpr int64_t kFreshRows = 2000;

/// Mostly one state on, sometimes three, sometimes back to the first, seldom anywhere.
double chain_probability(int from, int to) {
  double p = 0.1 / kStates;
  if (to == (from + 1) % kStates) p += 0.55;
  if (to == (from + 3) % kStates) p += 0.15;
  if (to == 0) p += 0.2;
  return p;
}

std::vector<int32_t> chain_tokens(int64_t count, uint64_t seed) {
  const RandomStream stream{seed, 0, 1};
  std::vector<int32_t> tokens;
  int state = 0;
  for (int64_t t = 0; t < count; ++t) {
    auto left = static_cast<double>(uniform_open(stream.word(static_cast<uint64_t>(t))));
    int next = 0;
    while (next + 1 < kStates && left > chain_probability(state, next)) left -= chain_probability(state, next++);
    state = next;
    tokens.push_back(state);
  }
  return tokens;
}

using Row = std::array<double, kStates>;

Row normalised(Row row) {
  double sum = 0.0;
  for (const double p : row) sum += p;
  for (double& p : row) p /= sum;
  return row;
}

/// For each token of a row the probability that it is another than it was.
std::vector<float> replaced_probabilities(std::span<const int32_t> seen, const Row& often) {
  const auto emission = [&](size_t t, int state) {
    const auto s = static_cast<size_t>(seen[t]);
    return (seen[t] == state ? 1.0 - kHidden : 0.0) + kHidden * often[s];
  };
  std::vector<Row> forward(seen.size());
  std::vector<Row> backward(seen.size());
  for (size_t t = 0; t < seen.size(); ++t) {
    for (int to = 0; to < kStates; ++to) {
      double p = t == 0 ? often[static_cast<size_t>(to)] : 0.0;
      for (int from = 0; from < kStates && t > 0; ++from) {
        p += forward[t - 1][static_cast<size_t>(from)] * chain_probability(from, to);
      }
      forward[t][static_cast<size_t>(to)] = p * emission(t, to);
    }
    forward[t] = normalised(forward[t]);
  }
  for (size_t t = seen.size(); t-- > 0;) {
    for (int from = 0; from < kStates; ++from) {
      double p = t + 1 == seen.size() ? 1.0 : 0.0;
      for (int to = 0; to < kStates && t + 1 < seen.size(); ++to) {
        p += chain_probability(from, to) * emission(t + 1, to) * backward[t + 1][static_cast<size_t>(to)];
      }
      backward[t][static_cast<size_t>(from)] = p;
    }
    backward[t] = normalised(backward[t]);
  }
  std::vector<float> result;
  for (size_t t = 0; t < seen.size(); ++t) {
    Row both{};
    for (size_t s = 0; s < kStates; ++s) both[s] = forward[t][s] * backward[t][s];
    result.push_back(static_cast<float>(1.0 - normalised(both)[static_cast<size_t>(seen[t])]));
  }
  return result;
}

/// Of one who knows the chain.
double best_area(const Row& often) {
  const std::vector<int32_t> chain = chain_tokens(kFreshRows * kChainLength, 77);
  std::vector<float> scores;
  std::vector<int32_t> answers;
  for (int64_t row = 0; row < kFreshRows; ++row) {
    const auto first = chain.begin() + row * kChainLength;
    std::vector<int32_t> seen(first, first + kChainLength);
    const RandomStream stream{5, static_cast<uint64_t>(row), 2};
    std::vector<std::pair<uint32_t, size_t>> order;
    for (size_t t = 0; t < seen.size(); ++t) order.emplace_back(stream.word(t), t);
    std::ranges::sort(order);
    for (size_t i = 0; i < 4; ++i) {
      auto left = static_cast<double>(uniform_open(stream.word(1000 + i)));
      size_t drawn = 0;
      while (drawn + 1 < kStates && left > often[drawn]) left -= often[drawn++];
      seen[order[i].second] = static_cast<int32_t>(drawn);
    }
    const std::vector<float> of_row = replaced_probabilities(seen, often);
    for (int64_t t = 0; t < kChainLength; ++t) {
      scores.push_back(of_row[static_cast<size_t>(t)]);
      answers.push_back(seen[static_cast<size_t>(t)] == first[t] ? 0 : 1);
    }
  }
  const Average pairs = pairs_in_order(scores, answers);
  return pairs.sum / pairs.count;
}

TokenFile chain_file(const std::string& path, int64_t tokens, uint64_t seed) {
  TokenFileWriter writer(path, kStates);
  writer.add_document(chain_tokens(tokens, seed));
  writer.finish();
  return TokenFile::open(path);
}

int run_electra(const std::vector<std::string>& overrides) {
  RunConfig config;
  parse_config(R"(
      steps: 2500
      model { family: ELECTRA layers: 2 heads: 4 width: 64 context: 24 vocabulary: 9 init_deviation: 0.1 }
      data { train: "made" }
      batch { micro_batch: 32 }
      optimizer { learning_rate: 1e-3 weight_decay: 0.01 }
      schedule { warmup_steps: 100 }
      objective { replaced_token_detection { mask_share: 1 mask_token: 8 generator_layers: 0 } })",
               "program", overrides, config);
  validate_run(config);
  const std::string stem = std::filesystem::temp_directory_path().string() + "/electra." + std::to_string(getpid());
  LanguageData data;
  data.train.push_back({chain_file(stem + ".train.bin", kTrainTokens, 1), 1.0});
  data.validation = chain_file(stem + ".validation.bin", kFreshRows * kChainLength + 1, 2);
  const Masking masking{
      .probability = 0.15, .mask_share = 1.0, .random_share = 0.0, .mask_token = 8, .vocabulary = 9, .special = {8}};
  ReplacedTokenObjective objective(std::move(data), kChainLength, config.seed(), masking,
                                   config.objective().replaced_token_detection(), config.model());
  ThreadPool pool(1);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  Engine engine(pool, *alone, config, objective, {});
  engine.optimizer().initialize(config.seed());
  for (int64_t step = 0; step < config.steps(); ++step) {
    const auto first = static_cast<uint64_t>(step * engine.samples_per_step());
    engine.step(step + 1, first, learning_rate_at(config.optimizer(), config.schedule(), config.steps(), step));
  }
  Row often{};
  for (const int32_t token : chain_tokens(kTrainTokens, 1)) often[static_cast<size_t>(token)] += 1.0;
  often = normalised(often);
  double entropy = 0.0;
  for (const double p : often) entropy -= p * std::log(p);
  const double best = best_area(often);
  double area = 0.0;
  for (const auto& [name, value] : engine.evaluate().scores) {
    std::cout << "| " << name << " " << value << "\n";
    if (name == "discriminator_auc") area = value;
  }
  std::cout << "| entropy of single tokens, which generator_loss cannot be below: " << entropy << "\n"
            << "| area under the curve of one who knows the chain: " << best << ", off by " << best - area << "\n";
  std::filesystem::remove(stem + ".train.bin");
  std::filesystem::remove(stem + ".validation.bin");
  return std::abs(best - area) <= 0.02 ? 0 : 1;
}

}  // namespace
}  // namespace tsugi

int main(int arguments, char** argument) { return tsugi::run_electra({argument + 1, argument + arguments}); }
