// From a run's configuration to its data and its objective.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/model/huggingface.h"
#include "core/objective/objective.h"

namespace tsugi {

/// The files that a DataConfig means: each path may be a folder written by `tsugi prepare`.
struct DataFiles {
  struct Source {
    std::string path;
    double weight = 1.0;
  };
  std::string train;            ///< the only source, or the first of a mixture
  std::vector<Source> sources;  ///< all of them
  std::string validation;       ///< empty: none
  std::string tokenizer;        ///< empty: none beside the training file
};
DataFiles find_data(const DataConfig& config);

/// Opens the data, fills in config.model.vocabulary (0: the tokenizer's or the file's, and what the objective's own ids
/// need) and, for masked_lm, the mask token and those around pieces, for span_corruption and denoising the end token,
/// and returns the objective. Throws Error(kUsage) when data, to train or to validate on, has ids beyond the vocabulary
/// (a file that does not say is read for it, to validate on alone); what require_tokenizer_of() throws, when
/// `checkpoint` is the folder that the weights come from.
std::unique_ptr<Objective> make_language_objective(const DataFiles& files, RunConfig& config,
                                                   const std::string& checkpoint = {});

/// Throws Error(kData) when the tokens of `data` are of another tokenizer than that of the folder `checkpoint`: the
/// files tokenizer.json beside both give an id that both know to different tokens, or data without one has another
/// `vocabulary` (0: not known). Where one of the two says nothing, nothing can be told.
void require_tokenizer_of(const std::string& checkpoint, const std::string& data, int64_t vocabulary);

/// The tokenizer.json that a model goes on with which begins with the folder `checkpoint`: that of its data, if it has
/// more ids than the folder's own. Either may be missing.
std::string larger_tokenizer(const std::string& checkpoint, const std::string& of_data);

/// Sequences that a whole run takes.
int64_t samples_of_run(const RunConfig& config);

/// What a run reads, a line per source: its part, samples, epochs and how full its rows are.
std::string describe_data(const TrainingData& data, const RunConfig& config);

/// The small files of a checkpoint: config.json, tokenizer.json with its configuration if there is one, and for models
/// that generate generation_config.json; the token that ends a text is the tokenizer's where the description says none.
/// `from`, a Hugging Face folder that the weights begin with (or empty), gives its generation settings, and its other
/// tokenizer files where the tokenizer is the same.
/// If there is an `adapter`, also its configuration: `from` is what it adapts.
std::map<std::string, std::string> checkpoint_texts(HuggingfaceModel description, const std::string& tokenizer_file,
                                                    const std::string& from, const AdapterConfig& adapter);

}  // namespace tsugi
