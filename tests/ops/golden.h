// Reads the golden files of tests/golden: lines "name value value ...".
#pragma once

#include <glog/logging.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace tsugi::testing {

using Golden = std::map<std::string, std::vector<double>>;

inline Golden read_golden(const std::string& name) {
  std::ifstream file(std::string(TSUGI_SOURCE_DIR) + "/tests/golden/" + name);
  CHECK(file) << "no tests/golden/" << name;
  Golden golden;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    for (double value = 0.0; words >> value;) golden[key].push_back(value);
  }
  return golden;
}

}  // namespace tsugi::testing
