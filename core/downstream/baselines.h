// What a fine-tuned model has to beat: the most frequent class, and a bag of byte n-grams. A classifier that does not
// is no classifier, whatever its loss.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tsugi {

struct LabelledText {
  std::string text;
  /// Index into the label names.
  int label = 0;
};

/// Reads lines {"text": "…", "label": "…"} (a label may be an integer; other members are ignored; empty lines are
/// skipped). If `collect_labels`, `labels` becomes those that occur, ascending by bytes; else every label must be one
/// of `labels`. Throws Error(kData) "FILE:LINE: reason", also for a file without examples, and Error(kInputOutput).
std::vector<LabelledText> read_labelled_jsonl(const std::string& path, std::vector<std::string>& labels,
                                              bool collect_labels);

/// The most frequent label, the smallest on a tie. `examples` must not be empty.
int majority_label(std::span<const LabelledText> examples);

/// The fraction of examples whose label is predicted[i]. Sizes must be equal, and not 0.
double accuracy(std::span<const int> predicted, std::span<const LabelledText> examples);

/// Multinomial naive Bayes (McCallum and Nigam 1998) over the counts of all byte n-grams of length 1 … `longest`:
///   log p(class) + Σ over n-grams g of the text  log (count(g, class) + alpha) / (count(class) + alpha · |n-grams|)
/// with p(class) the fraction of training texts. N-grams that no training text has are ignored.
class NgramBayes {
 public:
  /// 0 <= label < labels, 1 <= longest <= 7, alpha > 0.
  NgramBayes(std::span<const LabelledText> train, int labels, int longest = 4, double alpha = 1);

  /// The log of the joint probability of text and class, for each class; -infinity for classes without a training text.
  std::vector<double> log_joint(std::string_view text) const;
  /// The class of the largest log_joint, the smallest on a tie.
  int predict(std::string_view text) const;
  std::vector<int> predict(std::span<const LabelledText> examples) const;

  /// Distinct n-grams of the training texts.
  int64_t ngrams() const { return static_cast<int64_t>(rows_.size()); }

 private:
  int labels_;
  int longest_;
  std::vector<double> log_prior_;
  /// An n-gram's bytes and length → its row in log_likelihood_ [n-grams, labels].
  std::unordered_map<uint64_t, int64_t> rows_;
  std::vector<double> log_likelihood_;
};

/// Accuracy on `validation` of predicting the majority of `train`.
double majority_accuracy(std::span<const LabelledText> train, std::span<const LabelledText> validation);

/// Accuracy on `validation` of NgramBayes, n-grams of 1 to 4 bytes, alpha 1.
double ngram_accuracy(std::span<const LabelledText> train, std::span<const LabelledText> validation, int labels);

}  // namespace tsugi
