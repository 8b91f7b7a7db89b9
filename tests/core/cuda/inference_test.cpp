// Trained models in use on CUDA, beside the CPU: validation, scores of continuations and of classes, features.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/data/file.h"
#include "core/downstream/classify.h"
#include "core/downstream/scoring.h"
#include "core/downstream/text_batches.h"
#include "core/model/generator.h"
#include "core/objective/causal_lm.h"
#include "core/train/evaluation.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/reduce/reduce.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"

namespace tsugi {
namespace {

constexpr int64_t kTokens = 40;  // of the vocabulary

/// A model with a classifier's head, of the same rounded weights wherever it computes.
class UsedModel {
 public:
  UsedModel(const std::string& family, DeviceOperators* device, DType type)
      : memory_(make_memory(device)), context(Device{.operators = device}, pool_, *memory_) {
    RunConfig config;
    parse_config(
        "steps: 1 data { train: \"unused\" } batch { micro_batch: 1 } optimizer { learning_rate: 1 } model { " +
            family + " layers: 2 heads: 2 width: 16 context: 12 vocabulary: 40 init_deviation: 0.2 }" +
            (family.find("BERT") != std::string::npos ? "objective { masked_lm {} }"
             : family.find("T5") != std::string::npos ? "objective { span_corruption {} }"
                                                      : ""),
        "test", {}, config);
    validate_run(config);
    model = std::make_unique<Transformer>(config.model(), store_);
    load(store_, type);
    if (has_decoder(config.model())) return;
    head = ClassifierHead(heads_, config.model(), 3);
    heads_.end_unit();
    load(heads_, type);
  }

 private:
  void load(ParameterStore& store, DType type) const {
    HeapMemory heap;
    ThreadPool pool(1);
    const Context host(Device{}, pool, heap);
    store.allocate(host, DType::kF32);
    const Tensor exact = store.working();
    store.initial_values(3, 0, store.chunks(), exact.data<float>());
    const Tensor rounded = host.empty(exact.shape(), DType::kBF16);
    convert(host, exact, rounded);
    const Tensor values = host.empty(exact.shape(), type);
    convert(host, rounded, values);
    store.allocate(context, type);
    copy_from_host(context, values.raw(), store.working());
  }

  ThreadPool pool_{1};
  std::unique_ptr<Memory> memory_;
  ParameterStore store_;
  ParameterStore heads_;

 public:
  Context context;
  ThreadPool& pool() { return pool_; }
  Memory& memory() { return *memory_; }
  std::unique_ptr<Transformer> model;
  ClassifierHead head;
};

class Inference : public testing::OnCuda {
 protected:
  /// What `use` makes of the model on CUDA lies within the bound of bf16 of what it makes of it in f32.
  template <class Use>
  void expect_alike(const std::string& family, Use use) {
    SCOPED_TRACE(family);
    UsedModel there(family, device(), DType::kBF16);
    UsedModel plain(family, nullptr, DType::kBF16);
    UsedModel exact(family, nullptr, DType::kF32);
    const std::vector<double> values = use(there);
    ASSERT_FALSE(values.empty());
    testing::expect_within_twice(values, use(plain), use(exact), DType::kBF16);
  }
};

const std::vector<std::vector<int32_t>> kTexts{{5, 6, 7}, {}, {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 9}, {9}, {5, 6, 8}};

TEST_F(Inference, ValidatesAsTheCpuDoes) {
  const std::string path = ::testing::TempDir() + "cuda_inference." + std::to_string(getpid()) + ".bin";
  {
    TokenFileWriter writer(path, kTokens);
    std::vector<int32_t> document;
    for (int i = 0; i < 200; ++i) document.push_back((i * i + 3 * i) % static_cast<int>(kTokens));
    writer.add_document(document);
    writer.finish();
  }
  const TokenFile file = TokenFile::open(path);
  const CausalLm objective(file, file, kTokens, 12, 0);
  expect_alike("family: GPT2", [&](UsedModel& used) {
    int64_t shown = 0;
    const EvaluationSum sum = evaluate_objective(used.context.device(), used.pool(), used.memory(), *used.model,
                                                 objective, 0, [&](const Batch& batch) {
                                                   for (int64_t i = 0; i < batch.targets.elements(); ++i) {
                                                     shown += batch.targets.data<int32_t>()[i] != kIgnoreIndex;
                                                   }
                                                 });
    EXPECT_EQ(sum.loss.count, shown);
    EXPECT_EQ(sum.loss.count, 192);
    return std::vector<double>{sum.loss.sum};
  });
  for (const char* part : {"", ".documents"}) std::filesystem::remove(path + part);
}

TEST_F(Inference, ScoresContinuationsAsTheCpuDoes) {
  const std::vector<ScoredSequence> sequences{{{1, 2, 3, 4}, 2}, {{5, 6}, 1}, {{7, 8, 9, 1, 2, 3, 4, 5, 6}, 4}};
  for (const char* const family : {"family: GPT2", "family: LLAMA mlp_width: 24"}) {
    expect_alike(family, [&](UsedModel& used) {
      const std::unique_ptr<Communicator> alone = make_local_communicator();
      return score_sequences(*alone, used.context, *used.model, sequences, 2);
    });
  }
}

TEST_F(Inference, FeaturesAndClassesAreThoseOfTheCpu) {
  for (const char* const family : {"family: GPT2", "family: BERT"}) {
    for (const TextPooling pooling : {TextPooling::kMean, TextPooling::kFirst, TextPooling::kLast}) {
      expect_alike(family, [&](UsedModel& used) {
        const FeatureTable table = text_features(used.context, *used.model, kTexts, pooling, 2);
        return std::vector<double>(table.values.begin(), table.values.end());
      });
    }
    expect_alike(family, [&](UsedModel& used) {
      std::vector<double> all;
      for (const std::vector<float>& row : class_scores(used.context, *used.model, used.head, kTexts, 2)) {
        all.insert(all.end(), row.begin(), row.end());
      }
      return all;
    });
  }
}

// Prompts of several lengths behind one cache, equal ones, and a context that is full.
TEST_F(Inference, WritesWhatTheCpuWrites) {
  const std::vector<GenerationRow> rows{{{5, 6, 7}}, {{1, 2, 3, 4, 5, 6, 7, 8}}, {{9}}, {{5, 6, 7}}};
  for (const char* const family :
       {"family: GPT2", "family: LLAMA mlp_width: 24 key_heads: 1 sliding_window: 5 logit_soft_cap: 2",
        "family: QWEN3 mlp_width: 24 head_dim: 12", "family: T5 mlp_width: 24 decoder_layers: 2"}) {
    SCOPED_TRACE(family);
    GenerationOptions how;
    how.count = 16;
    how.sampling.temperature = 0.0;
    const auto write = [&](DeviceOperators* where, DType type, const std::vector<GenerationRow>& prompts) {
      UsedModel used(family, where, type);
      std::vector<std::vector<int32_t>> all;
      for (const Continuation& one : generate_rows(used.context, *used.model, prompts, how)) all.push_back(one.ids);
      return all;
    };
    const auto expected = write(nullptr, DType::kF32, rows);
    EXPECT_EQ(write(device(), DType::kF32, rows), expected);
    EXPECT_EQ(expected[0].size(), 16u);
    EXPECT_EQ(expected[0], expected[3]);
    EXPECT_EQ(write(device(), DType::kF32, {rows[1]})[0], expected[1]);
    EXPECT_EQ(write(device(), DType::kBF16, rows)[2].size(), 16u);
  }
}

TEST_F(Inference, LogitsOfHiddenTokensAreThoseOfTheCpu) {
  for (const char* const family : {"family: BERT", "family: GPT2 logit_soft_cap: 1.5"}) {
    expect_alike(family, [&](UsedModel& used) {
      const Tensor tokens = integers_of(used.context, {1, 5}, [](int32_t* ids) { std::iota(ids, ids + 5, 3); });
      const Tensor rows = integers_of(used.context, {2}, [](int32_t* places) {
        places[0] = 1;
        places[1] = 4;
      });
      Tape tape(used.context, false);
      const Tensor hidden = select_rows(tape, used.model->hidden(tape, tokens, {}), rows).value;
      return testing::to_doubles(on_host(used.context, used.model->logits(used.context, hidden)));
    });
  }
}

}  // namespace
}  // namespace tsugi
