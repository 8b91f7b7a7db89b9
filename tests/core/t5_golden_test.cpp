// Tiny T5 models against Hugging Face transformers in float64: logits, loss, every gradient, padding, greedy decoding.
// Values: tests/golden/make_t5.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>

#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/safetensors.h"
#include "core/config/families.h"
#include "core/data/file.h"
#include "core/model/generator.h"
#include "core/model/huggingface.h"
#include "core/objective/pair_batch.h"
#include "core/scaling/flops.h"
#include "ops/base/error.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

constexpr int64_t kT5Rows = 2;
constexpr int64_t kT5Inputs = 13;
constexpr int64_t kT5Targets = 9;
constexpr int64_t kT5Vocabulary = 29;

std::string t5_golden_path(const std::string& name) {
  return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/t5_" + name;
}

/// A model with the golden weights and batch.
class GoldenT5 {
 public:
  explicit GoldenT5(const std::string& name)
      : text_(read_file(t5_golden_path(name + ".safetensors"), 1 << 20)),
        header_(parse_safetensors(text_, static_cast<int64_t>(text_.size()), name)),
        description(parse_huggingface_config(read_file(t5_golden_path(name + ".json"), 1 << 16), name)),
        context(Device{}, pool_, memory_),
        model(description.model, store) {
    store.allocate(context, DType::kF32);
    fill_zero(context, store.working());
    const std::vector<SavedTensor> tensors = saved_tensors(store);
    for (const StateRange& range : whole_tensors(store)) {
      const std::vector<float> from = values<float>(tensors[static_cast<size_t>(range.tensor)].name);
      EXPECT_EQ(static_cast<int64_t>(from.size()), range.length);
      std::ranges::copy(from, range.master);
    }
    tokens = values<int32_t>("tokens");
    lengths = values<int32_t>("lengths");
    const std::vector<int32_t> targets = values<int32_t>("targets");
    const std::vector<int32_t> decoder = values<int32_t>("decoder");
    batch.tokens = integers({kT5Rows, kT5Inputs}, tokens);
    batch.decoder_tokens = integers({kT5Rows, kT5Targets}, decoder);
    batch.targets = integers({kT5Rows, kT5Targets}, targets);
    std::vector<int32_t> ends;
    std::vector<int32_t> memory_ends;
    for (const int32_t length : lengths) {
      ends.insert(ends.end(), kT5Inputs, length);
      memory_ends.insert(memory_ends.end(), kT5Targets, length);
    }
    batch.end_key = integers({kT5Rows, kT5Inputs}, ends);
    batch.memory_end = integers({kT5Rows, kT5Targets}, memory_ends);
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const SafetensorsTensor& tensor = header_.tensors.at(name);
    std::vector<T> result(static_cast<size_t>(tensor.elements));
    EXPECT_EQ(result.size() * sizeof(T), static_cast<size_t>(tensor.end - tensor.begin));
    std::memcpy(result.data(), text_.data() + tensor.begin, result.size() * sizeof(T));
    return result;
  }

  static Tensor integers(const Shape& shape, const std::vector<int32_t>& values) {
    Tensor tensor = host_integers(shape);
    EXPECT_EQ(static_cast<size_t>(tensor.elements()), values.size());
    std::ranges::copy(values, tensor.data<int32_t>());
    return tensor;
  }

  LossSum backward(const ForwardOptions& options = {}) {
    gradients = context.empty({store.chunks() * kChunkElements}, DType::kF32);
    fill_zero(context, gradients);
    store.bind_gradients(gradients);
    Tape tape(context);
    const LossSum loss = pair_loss(tape, model, batch, options);
    tape.backward();
    return loss;
  }

  std::vector<float> logits() {
    Tape tape(context, false);
    const Tensor scores = model.logits(context, as_matrix(decoded_pairs(tape, model, batch, {}).value));
    std::vector<float> result;
    for (int64_t row = 0; row < scores.shape()[0]; ++row) {
      const float* from = scores.data<float>() + row * scores.shape()[1];
      result.insert(result.end(), from, from + kT5Vocabulary);
    }
    return result;
  }

 private:
  std::string text_;
  SafetensorsHeader header_;
  HeapMemory memory_;
  ThreadPool pool_{2};

 public:
  HuggingfaceModel description;
  Context context;
  ParameterStore store;
  Transformer model;
  Tensor gradients;
  Batch batch;
  std::vector<int32_t> tokens, lengths;
};

double t5_farthest(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double result = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    result = std::max(result, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return result;
}

class T5Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(T5Golden, Logits) {
  GoldenT5 golden(GetParam());
  EXPECT_LT(t5_farthest(golden.logits(), golden.values<float>("logits")), 3e-5);
}

TEST_P(T5Golden, PaddingChangesNoBitAndLaterTokensNoEarlierOnes) {
  GoldenT5 golden(GetParam());
  const std::vector<float> before = golden.logits();
  for (int64_t t = golden.lengths[1]; t < kT5Inputs; ++t) {
    golden.batch.tokens.data<int32_t>()[kT5Inputs + t] = static_cast<int32_t>(3 + t);
  }
  EXPECT_EQ(golden.logits(), before);
  constexpr int64_t kChanged = 5;
  int32_t& token = golden.batch.decoder_tokens.data<int32_t>()[kChanged];
  token = token == 7 ? 8 : 7;
  std::vector<float> after = golden.logits();
  EXPECT_TRUE(std::ranges::equal(std::span(before).first(kChanged * kT5Vocabulary),
                                 std::span(after).first(kChanged * kT5Vocabulary)));
  EXPECT_NE(after, before);
  int32_t& last = golden.batch.tokens.data<int32_t>()[kT5Inputs - 1];
  last = last == 7 ? 8 : 7;
  after = golden.logits();
  EXPECT_GT(t5_farthest({before.data(), kT5Vocabulary}, {after.data(), kT5Vocabulary}), 1e-5)
      << "the first target sees all of the input";
}

TEST_P(T5Golden, LossAndEveryGradient) {
  GoldenT5 golden(GetParam());
  const LossSum loss = golden.backward();
  EXPECT_EQ(loss.count, 8 + 6);
  EXPECT_NEAR(loss.sum / static_cast<double>(loss.count), golden.values<float>("loss")[0], 3e-6);
  int compared = 0;
  for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
    const float* actual = golden.store.gradient(static_cast<int>(t)).data<float>();
    for (const ParameterPart& part : golden.store.tensors()[t].parts) {
      std::vector<float> expected = golden.values<float>("gradient/" + part.name);
      double largest = 0.1;
      for (float& value : expected) {
        value *= static_cast<float>(loss.count);  // ours is the gradient of the sum
        largest = std::max(largest, std::fabs(static_cast<double>(value)));
      }
      EXPECT_LT(t5_farthest({actual, expected.size()}, expected), 5e-5 * largest) << part.name;
      actual += expected.size();
      ++compared;
    }
  }
  // Two encoder blocks of 8 tensors at least, decoder blocks of 13, two norms, two tables of distances, the tokens'.
  EXPECT_GE(compared, 2 * 8 + 2 * 13 + 2 + 2 + 1);
}

TEST_P(T5Golden, RecomputationChangesNoBit) {
  GoldenT5 golden(GetParam());
  golden.backward();
  const Tensor kept = golden.gradients;
  ForwardOptions options;
  options.recompute = true;
  golden.backward(options);
  EXPECT_EQ(std::memcmp(kept.raw(), golden.gradients.raw(), kept.bytes()), 0);
}

TEST_P(T5Golden, UnitsAreCompleteWhenTheySayAndGradientsAreSlopesWithDropout) {
  GoldenT5 golden(GetParam());
  ForwardOptions options;
  options.dropout = {0.3f, 7, 1};
  std::vector<int> units;
  std::vector<std::vector<float>> seen;
  options.on_unit_complete = [&](int unit) {
    units.push_back(unit);
    const int64_t elements = golden.store.unit_ends()[static_cast<size_t>(unit)] * kChunkElements;
    seen.emplace_back(golden.gradients.data<float>(), golden.gradients.data<float>() + elements);
  };
  golden.backward(options);
  ASSERT_EQ(units.size(), golden.store.unit_ends().size());
  for (size_t i = 0; i < units.size(); ++i) {
    EXPECT_EQ(units[i], static_cast<int>(i));
    EXPECT_EQ(std::memcmp(seen[i].data(), golden.gradients.raw(), seen[i].size() * sizeof(float)), 0)
        << "gradients of unit " << i << " were not final";
  }
  options.on_unit_complete = nullptr;
  const auto loss = [&] {
    Tape tape(golden.context);  // recording: dropout acts
    return pair_loss(tape, golden.model, golden.batch, options).sum;
  };
  const std::vector<float> gradients(golden.gradients.data<float>(),
                                     golden.gradients.data<float>() + golden.gradients.elements());
  for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
    const Tensor value = golden.store.value(static_cast<int>(t));
    const float* gradient = gradients.data() + golden.store.tensors()[t].first_chunk * kChunkElements;
    for (int64_t i = 1; i < golden.store.tensors()[t].elements(); i += 131) {
      constexpr float kStep = 1.0f / 1024.0f;
      float& weight = value.data<float>()[i];
      const float at = weight;
      weight = at + kStep;
      const double above = loss();
      weight = at - kStep;
      const double below = loss();
      weight = at;
      const double slope = (above - below) * 512.0;
      // ReLU has corners.
      EXPECT_NEAR(static_cast<double>(gradient[i]), slope, 4e-2 * std::max(1.0, std::fabs(slope)))
          << golden.store.tensors()[t].name << i;
    }
  }
}

TEST_P(T5Golden, GreedyDecodingAloneAndTogether) {
  GoldenT5 golden(GetParam());
  const std::vector<int32_t> expected = golden.values<int32_t>("greedy");
  const size_t count = expected.size() / kT5Rows;
  std::vector<GenerationRow> rows;
  for (size_t row = 0; row < kT5Rows; ++row) {
    const auto first = golden.tokens.begin() + static_cast<std::ptrdiff_t>(row * kT5Inputs);
    rows.push_back({{first, first + golden.lengths[row]}, 0});
  }
  GenerationOptions options;
  options.count = static_cast<int64_t>(count);
  options.sampling.temperature = 0.0;
  const std::vector<Continuation> together = generate_rows(golden.context, golden.model, rows, options);
  for (size_t row = 0; row < kT5Rows; ++row) {
    const auto first = expected.begin() + static_cast<std::ptrdiff_t>(row * count);
    const std::vector<int32_t> theirs(first, first + static_cast<std::ptrdiff_t>(count));
    EXPECT_EQ(together[row].ids, theirs) << row;
    EXPECT_EQ(generate_rows(golden.context, golden.model, {rows[row]}, options)[0].ids, theirs) << row;
    EXPECT_EQ(together[row].restarts, 0);
  }
}

TEST_P(T5Golden, ConfigIsWrittenAsItWasRead) {
  const std::string text = read_file(t5_golden_path(std::string(GetParam()) + ".json"), 1 << 16);
  const HuggingfaceModel once = parse_huggingface_config(text, "golden");
  EXPECT_TRUE(has_decoder(once.model));
  const std::string written = to_huggingface_config(once);
  const HuggingfaceModel twice = parse_huggingface_config(written, "written");
  EXPECT_EQ(once.model.DebugString(), twice.model.DebugString());
  EXPECT_EQ(once.token_ids, twice.token_ids);
  EXPECT_EQ(written, to_huggingface_config(twice));
  EXPECT_NE(written.find("\"model_type\": \"t5\""), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Versions, T5Golden, ::testing::Values("v10", "v11"),
                         [](const auto& parameter) { return std::string(parameter.param); });

/// Parameters of a declared model, and as they are counted.
std::pair<int64_t, int64_t> t5_parameters(const ModelConfig& config) {
  ParameterStore store;
  const Transformer model(config, store);
  return {store.parameters(), count_parameters(model.config()).total};
}

// Raffel et al. 2020's published checkpoints.
TEST(T5, ParametersArePublishedOnes) {
  ModelConfig small;
  small.set_family(ModelConfig::T5);
  small.set_layers(6);
  small.set_heads(8);
  small.set_width(512);
  small.set_context(512);
  small.set_vocabulary(32128);
  EXPECT_EQ(t5_parameters(small), std::pair(int64_t{60506624}, int64_t{60506624}));
  ModelConfig base = small;
  base.set_layers(12);
  base.set_heads(12);
  base.set_width(768);
  EXPECT_EQ(t5_parameters(base), std::pair(int64_t{222903552}, int64_t{222903552}));
  ModelConfig newer = small;  // google/t5-v1_1-small
  newer.set_layers(8);
  newer.set_heads(6);
  newer.set_head_dim(64);
  newer.set_mlp_width(1024);
  newer.set_activation(ModelConfig::GATED_GELU);
  newer.set_tied(false);
  EXPECT_EQ(t5_parameters(newer), std::pair(int64_t{76961152}, int64_t{76961152}));
}

TEST(T5, InitialValuesHaveThePublishedDeviations) {
  ModelConfig config;
  config.set_family(ModelConfig::T5);
  config.set_layers(1);
  config.set_heads(8);
  config.set_width(128);
  config.set_head_dim(32);
  config.set_context(64);
  config.set_vocabulary(512);
  ParameterStore store;
  const Transformer model(config, store);
  std::vector<float> values(static_cast<size_t>(store.chunks() * kChunkElements));
  store.initial_values(5, 0, store.chunks(), values.data());
  for (const ParameterInfo& info : store.tensors()) {
    const float* at = values.data() + info.first_chunk * kChunkElements;
    for (const ParameterPart& part : info.parts) {
      const int64_t elements = part.rows * (info.shape.elements() / info.shape[0]);
      double sum = 0.0;
      for (int64_t i = 0; i < elements; ++i) sum += static_cast<double>(at[i]) * static_cast<double>(at[i]);
      at += elements;
      const double deviation = std::sqrt(sum / static_cast<double>(elements));
      double expected = 1.0 / std::sqrt(128.0);
      if (part.name.ends_with("norm.weight") || part.name == "shared.weight") expected = 1.0;
      if (part.name.ends_with(".q.weight")) expected = 1.0 / std::sqrt(128.0 * 32.0);
      if (part.name.ends_with(".o.weight")) expected = 1.0 / std::sqrt(8.0 * 32.0);
      if (part.name.ends_with(".wo.weight")) expected = 1.0 / std::sqrt(512.0);
      EXPECT_NEAR(deviation / expected, 1.0, elements < 1000 ? 0.2 : 0.05) << part.name;
    }
  }
}

TEST(T5, WhatCannotBeIsRefused) {
  const std::string text = read_file(t5_golden_path("v10.json"), 1 << 16);
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& what) {
    std::string changed = text;
    const size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    try {
      parse_huggingface_config(changed, "changed");
      ADD_FAILURE() << to << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  refused("\"feed_forward_proj\": \"relu\"", "\"feed_forward_proj\": \"gated-silu\"", "feed_forward_proj");
  refused("\"is_encoder_decoder\": true", "\"is_encoder_decoder\": false", "is_encoder_decoder");
  refused("\"relative_attention_num_buckets\": 8", "\"relative_attention_num_buckets\": 7", "relative_buckets");
  refused("\"relative_attention_max_distance\": 12", "\"relative_attention_max_distance\": 4", "relative_distance");
  refused("\"decoder_start_token_id\": 0", "\"decoder_start_token_id\": 29", "decoder_start_token");
  ModelConfig gpt;
  gpt.set_layers(1);
  gpt.set_heads(1);
  gpt.set_width(8);
  gpt.set_context(8);
  gpt.set_decoder_layers(1);
  resolve_family(gpt);
  ASSERT_EQ(model_complaints(gpt).size(), 1u);
  EXPECT_NE(model_complaints(gpt)[0].find("decoder_layers"), std::string::npos);
}

}  // namespace
}  // namespace tsugi
