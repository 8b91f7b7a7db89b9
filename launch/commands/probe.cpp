// tsugi probe: what a checkpoint's features are worth to simple classifiers.
#include "core/downstream/probe.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/image_data.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct ProbeOptions {
  std::string checkpoint;
  std::string train;
  std::string test;
  int64_t per_class = 0;
  int64_t neighbours = 5;
  int threads = 0;
  DeviceArguments computing;
  bool json = false;
};

FeatureTable labelled_features(const ModelFolder& opened, const ImageSet& images) {
  if (images.labels.empty()) throw Error(ExitCode::kData, images.name + " has no labels to probe for");
  return features_of_images(opened, images);
}

int probe(const ProbeOptions& options) {
  const ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  const ImageSet train_images = open_images(options.train, "train");
  const ImageSet test_images = open_images(options.test, "validation");
  const FeatureTable train = labelled_features(opened, train_images);
  const FeatureTable test = labelled_features(opened, test_images);
  const auto classes = static_cast<int64_t>(std::max(train_images.classes.size(), test_images.classes.size()));
  const FeatureTable some = rows_per_class(train, options.per_class);
  const double linear = linear_probe(some, test, classes);
  HeapMemory heap;  // classifiers are fitted on the CPU
  const double nearest = nearest_neighbours(Context(Device{}, *opened.pool, heap), train, test, options.neighbours);
  if (options.json) {
    nlohmann::ordered_json json{{"linear_probe", linear}, {"nearest_neighbours", nearest},
                                {"width", train.width},   {"probe_examples", some.rows()},
                                {"train", train.rows()},  {"test", test.rows()}};
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "linear probe " << linear << " from " << some.rows() << " examples; " << options.neighbours
              << " nearest neighbours " << nearest << " among " << train.rows() << "; " << test.rows()
              << " images asked" << std::endl;
  }
  return 0;
}

}  // namespace

void add_probe(Command app) {
  auto options = std::make_shared<ProbeOptions>();
  Command command =
      app.subcommand("probe", "Measure a checkpoint's features of images by a linear probe and by nearest neighbours");
  command.option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)").required();
  command.option("--train", options->train, "labelled images: a folder of prepare-images, of classes, or an IDX file")
      .required();
  command.option("--test", options->test, "labelled images to ask for, alike (of prepare-images: those to validate on)")
      .required();
  command.option("--per-class", options->per_class, "examples of each class for the linear probe; 0: all")
      .show_default()
      .non_negative();
  command.option("--neighbours", options->neighbours, "how many vote").show_default().positive();
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 4096);
  add_device_options(command, options->computing);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return probe(*options); });
}

}  // namespace tsugi
