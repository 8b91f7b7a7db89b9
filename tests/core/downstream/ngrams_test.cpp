// N-gram models: against the definition by maps of whole n-grams, and against published properties.
#include "core/downstream/ngrams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr int64_t kSymbols = 7;
constexpr int kLongestNgram = 4;

/// A text in which what comes next depends on what came before.
std::vector<int32_t> make_text(int64_t count, uint64_t seed) {
  std::vector<int32_t> tokens{1, 2};
  const RandomStream stream{seed, 0, 0};
  while (static_cast<int64_t>(tokens.size()) < count) {
    const uint32_t word = stream.word(tokens.size());
    const int32_t expected = (2 * tokens.back() + tokens[tokens.size() - 2]) % 6;
    tokens.push_back(word % 4 == 0 ? static_cast<int32_t>(word / 4 % kSymbols) : expected);
  }
  return tokens;
}

/// The definition, by maps from histories to counts of what follows.
class Definition {
 public:
  Definition(const std::vector<int32_t>& tokens, const std::vector<int64_t>& documents) {
    for (size_t t = 0; t < tokens.size(); ++t) {
      std::vector<int32_t> history;
      for (size_t k = 0; k < kLongestNgram; ++k) {
        ++counts_[history][tokens[t]];
        const size_t before = t - history.size();
        if (before == 0 || std::ranges::find(documents, static_cast<int64_t>(before)) != documents.end()) break;
        history.insert(history.begin(), tokens[before - 1]);
      }
    }
  }

  double probability(std::vector<int32_t> history, int32_t token) const {
    if (history.empty()) return from(history, token, 1.0 / kSymbols);
    const std::vector<int32_t> shorter(history.begin() + 1, history.end());
    return from(history, token, probability(shorter, token));
  }

 private:
  double from(const std::vector<int32_t>& history, int32_t token, double shorter) const {
    const auto found = counts_.find(history);
    if (found == counts_.end()) return shorter;
    double all = 0.0;
    for (const auto& [next, count] : found->second) all += count;
    const auto types = static_cast<double>(found->second.size());
    const auto seen = found->second.find(token);
    return ((seen == found->second.end() ? 0.0 : seen->second) + types * shorter) / (all + types);
  }

  std::map<std::vector<int32_t>, std::map<int32_t, double>> counts_;
};

TEST(Ngrams, EqualTheirDefinition) {
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = make_text(600, 1);
  const std::vector<int64_t> documents{0, 100, 101, 350};
  const NgramModel model(tokens, documents, kSymbols, kLongestNgram, pool);
  const Definition definition(tokens, documents);
  const std::vector<int32_t> text = make_text(200, 2);
  for (size_t t = kLongestNgram; t < text.size(); ++t) {
    const std::vector<int32_t> history(text.begin() + static_cast<int64_t>(t) - kLongestNgram,
                                       text.begin() + static_cast<int64_t>(t));
    const std::vector<double> p = model.probabilities(history, text[t]);
    ASSERT_EQ(p.size(), static_cast<size_t>(kLongestNgram));
    for (int order = 1; order <= kLongestNgram; ++order) {
      const std::vector<int32_t> last(history.end() - (order - 1), history.end());
      ASSERT_NEAR(p[static_cast<size_t>(order - 1)], definition.probability(last, text[t]), 1e-14) << t << " " << order;
    }
  }
}

TEST(Ngrams, ProbabilitiesAddUpToOne) {
  ThreadPool pool(1);
  const std::vector<int32_t> tokens = make_text(300, 3);
  const NgramModel model(tokens, {}, kSymbols, kLongestNgram, pool);
  for (const std::vector<int32_t>& history : {std::vector<int32_t>{}, std::vector<int32_t>{1},
                                              std::vector<int32_t>{6, 6, 6}, std::vector<int32_t>{1, 4, 3, 2}}) {
    std::vector<double> sums(kLongestNgram);
    for (int32_t token = 0; token < kSymbols; ++token) {
      const std::vector<double> p = model.probabilities(history, token);
      for (size_t i = 0; i < p.size(); ++i) sums[i] += p[i];
    }
    for (const double sum : sums) EXPECT_NEAR(sum, 1.0, 1e-12);
  }
}

TEST(Ngrams, LongerOnesPredictBetterAndThreadsChangeNothing) {
  ThreadPool one(1);
  ThreadPool three(3);
  const std::vector<int32_t> tokens = make_text(20000, 4);
  const std::vector<int32_t> text = make_text(9000, 5);
  const std::vector<int64_t> documents{0, 4000};
  const std::vector<double> losses = NgramModel(tokens, {}, kSymbols, kLongestNgram, one).losses(text, documents, one);
  EXPECT_EQ(NgramModel(tokens, {}, kSymbols, kLongestNgram, three).losses(text, documents, three), losses);
  EXPECT_LT(losses[2], losses[1] - 0.1) << "what comes next depends on two tokens";
  EXPECT_NEAR(losses[1], losses[0], 0.05) << "one alone says nothing";
  EXPECT_NEAR(losses[3], losses[2], 0.05) << "and on no more";
  // Three quarters are as expected, the rest is any of seven: the entropy of that.
  const double expected = 0.75 + 0.25 / 7;
  const double entropy = -expected * std::log(expected) - 6 * (0.25 / 7) * std::log(0.25 / 7);
  EXPECT_NEAR(losses[2], entropy, 0.05);
}

TEST(Ngrams, AHistoryEndsWhereItsDocumentBegins) {
  ThreadPool pool(1);
  // 0 1 | 0 1 | …: across documents nothing follows 1.
  std::vector<int32_t> tokens;
  std::vector<int64_t> documents;
  for (int d = 0; d < 50; ++d) {
    documents.push_back(static_cast<int64_t>(tokens.size()));
    tokens.insert(tokens.end(), {0, 1});
  }
  const NgramModel apart(tokens, documents, kSymbols, 2, pool);
  const NgramModel joined(tokens, {}, kSymbols, 2, pool);
  const std::vector<int32_t> history{1};
  EXPECT_EQ(apart.probabilities(history, 0)[1], apart.probabilities(history, 0)[0]);
  EXPECT_GT(joined.probabilities(history, 0)[1], 0.95);
}

}  // namespace
}  // namespace tsugi
