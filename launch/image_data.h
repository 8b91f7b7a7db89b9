// From a run's configuration to its pictures and their objective.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "core/data/images/image_set.h"
#include "core/downstream/probe.h"
#include "core/objective/objective.h"
#include "launch/model_folder.h"

namespace tsugi {

/// The pictures at `path` (core/data/images/image_set.h), of a folder of `tsugi prepare-images` those of `stem`.
ImageSet open_images(const std::string& path, const std::string& stem = "train");

/// An objective of pictures and what is to be said about them.
struct ImageObjective {
  std::unique_ptr<Objective> objective;
  std::vector<std::string> labels;  ///< of its classes; empty: none
  std::string description;          ///< of the data, for the log
};
/// `config` is validated. Throws Error(kData) for what is wrong with the pictures.
ImageObjective make_image_objective(const RunConfig& config);

/// What the opened model makes of the pictures (core/downstream/probe.h). Throws Error(kData) when it is no model of
/// pictures, or of other ones.
FeatureTable features_of_images(const ModelFolder& opened, const ImageSet& images);

/// preprocessor_config.json of transformers' ViTImageProcessor: what core/data/images/augment.h does to a picture.
std::string image_processor_text(const ModelConfig& model);

}  // namespace tsugi
