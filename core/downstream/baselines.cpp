#include "core/downstream/baselines.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/data/json_lines.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// Calls visit(key) for every n-gram. The key holds the bytes and, above them, the length: no two n-grams share one.
template <typename Visit>
void for_each_ngram(std::string_view text, int longest, const Visit& visit) {
  for (size_t begin = 0; begin < text.size(); ++begin) {
    uint64_t bytes = 0;
    for (int length = 1; length <= longest && begin + length <= text.size(); ++length) {
      bytes = bytes << 8 | static_cast<unsigned char>(text[begin + length - 1]);
      visit(bytes | static_cast<uint64_t>(length) << 56);
    }
  }
}

}  // namespace

std::vector<LabelledText> read_labelled_jsonl(const std::string& path, std::vector<std::string>& labels,
                                              bool collect_labels) {
  std::vector<std::string> texts;
  std::vector<std::string> names;
  std::vector<std::string> origins;
  for_each_json_line(path, [&](const JsonValue& value) {
    const JsonValue label = value.require("label");
    texts.push_back(value.require_string("text"));
    names.push_back(label.is_integer() ? std::to_string(label.as_int()) : label.as_string());
    origins.push_back(value.origin());
  });
  if (texts.empty()) {
    throw Error(ExitCode::kData, path + ": no examples", R"(write one {"text": "…", "label": "…"} a line)");
  }

  if (collect_labels) {
    const std::set<std::string> occurring(names.begin(), names.end());
    labels.assign(occurring.begin(), occurring.end());
  }
  std::unordered_map<std::string_view, int> index;
  for (size_t i = 0; i < labels.size(); ++i) index.emplace(labels[i], static_cast<int>(i));
  std::vector<LabelledText> examples;
  examples.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto found = index.find(names[i]);
    if (found == index.end()) {
      throw Error(ExitCode::kData,
                  origins[i] + ": field label: \"" + names[i] + "\" is not a label of the training examples",
                  "the validation examples must have the labels of the training examples");
    }
    examples.push_back({std::move(texts[i]), found->second});
  }
  return examples;
}

int majority_label(std::span<const LabelledText> examples) {
  CHECK(!examples.empty());
  std::vector<int64_t> counts;
  for (const LabelledText& example : examples) {
    CHECK_GE(example.label, 0);
    if (example.label >= std::ssize(counts)) counts.resize(example.label + 1);
    ++counts[example.label];
  }
  return static_cast<int>(std::ranges::max_element(counts) - counts.begin());
}

double accuracy(std::span<const int> predicted, std::span<const LabelledText> examples) {
  CHECK_EQ(predicted.size(), examples.size());
  CHECK(!examples.empty());
  int64_t right = 0;
  for (size_t i = 0; i < examples.size(); ++i) right += predicted[i] == examples[i].label;
  return static_cast<double>(right) / static_cast<double>(examples.size());
}

NgramBayes::NgramBayes(std::span<const LabelledText> train, int labels, int longest, double alpha)
    : labels_(labels), longest_(longest), log_prior_(labels) {
  CHECK(!train.empty());
  CHECK(longest >= 1 && longest <= 7) << longest;
  CHECK_GT(alpha, 0);
  std::vector<int64_t> texts(labels);
  std::vector<int64_t> totals(labels);
  std::vector<int64_t> counts;
  for (const LabelledText& example : train) {
    CHECK(example.label >= 0 && example.label < labels) << example.label;
    ++texts[example.label];
    for_each_ngram(example.text, longest, [&](uint64_t key) {
      const auto [row, is_new] = rows_.try_emplace(key, ngrams());
      if (is_new) counts.resize(counts.size() + labels);
      ++counts[row->second * labels + example.label];
      ++totals[example.label];
    });
  }
  log_likelihood_.resize(counts.size());
  for (int label = 0; label < labels; ++label) {
    log_prior_[label] = std::log(static_cast<double>(texts[label]) / static_cast<double>(train.size()));
    const double log_total = std::log(static_cast<double>(totals[label]) + alpha * static_cast<double>(ngrams()));
    for (int64_t row = 0; row < ngrams(); ++row) {
      const int64_t cell = row * labels + label;
      log_likelihood_[cell] = std::log(static_cast<double>(counts[cell]) + alpha) - log_total;
    }
  }
}

std::vector<double> NgramBayes::log_joint(std::string_view text) const {
  std::vector<double> sums = log_prior_;
  for_each_ngram(text, longest_, [&](uint64_t key) {
    const auto row = rows_.find(key);
    if (row == rows_.end()) return;
    for (int label = 0; label < labels_; ++label) sums[label] += log_likelihood_[row->second * labels_ + label];
  });
  return sums;
}

int NgramBayes::predict(std::string_view text) const {
  const std::vector<double> sums = log_joint(text);
  return static_cast<int>(std::ranges::max_element(sums) - sums.begin());
}

std::vector<int> NgramBayes::predict(std::span<const LabelledText> examples) const {
  std::vector<int> predicted;
  predicted.reserve(examples.size());
  for (const LabelledText& example : examples) predicted.push_back(predict(example.text));
  return predicted;
}

double majority_accuracy(std::span<const LabelledText> train, std::span<const LabelledText> validation) {
  return accuracy(std::vector<int>(validation.size(), majority_label(train)), validation);
}

double ngram_accuracy(std::span<const LabelledText> train, std::span<const LabelledText> validation, int labels) {
  return accuracy(NgramBayes(train, labels).predict(validation), validation);
}

}  // namespace tsugi
