#!/bin/bash
# From staging to production: run it in the directory of an app that exists on both racks.
# shellcheck disable=SC2086 # ids contain no blanks
set -ex

ARTIFACT=${ARTIFACT:-/tmp/b.tgz}

# Build on staging and release there.

convox switch staging
BUILD_ID=$(convox build --id)
RELEASE_ID=$(convox releases | grep $BUILD_ID | cut -d" " -f1)
convox releases promote $RELEASE_ID --wait

# Test and migrate on staging; keep the build if both pass.

convox run web rake test --release $RELEASE_ID
convox run web rake db:migrate --release $RELEASE_ID
convox builds export $BUILD_ID > "$ARTIFACT"

# Release the same build on production.

convox switch production
RELEASE_ID=$(convox builds import "$ARTIFACT" --id)
convox releases promote $RELEASE_ID --wait
