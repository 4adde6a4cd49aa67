# frozen_string_literal: true

environment "production"
bind "tcp://0.0.0.0:#{ENV.fetch("PORT", "3000")}"
threads 1, 5
# SIGTERM is how a release ends here: finish the requests at hand and exit 0.
raise_exception_on_sigterm false
