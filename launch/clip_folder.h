// What objective.clip learnt besides the pictures' model, as transformers has it.
#pragma once

#include <string>

#include "launch/convert_folder.h"

namespace tsugi {

enum class ClipPart {
  kText,  ///< CLIPTextModelWithProjection: captions' model and projection
  kBoth,  ///< VisionTextDualEncoderModel: both models, both projections, the scale
};

struct ConvertedClip {
  std::string from;
  std::string model_type;  ///< of what was written
  int64_t parameters = 0;
  int64_t bytes = 0;  ///< of the tensors
};

/// Writes `part` of a checkpoint of objective.clip, with a tokenizer.json of captions' bytes. `options.vocabulary` must
/// be 0. Throws Error(kUsage) for a checkpoint of another objective, and for both of a model whose pictures' features
/// transformers' ViTModel cannot give (pooling: MEAN_OF_PATCHES); Error(kData) as convert_folder(). transformers'
/// CLIPModel is neither: its pictures' model has a norm before its blocks that ours lacks. All or nothing.
ConvertedClip convert_clip(const ConvertOptions& options, ClipPart part);

}  // namespace tsugi
