"""Where the plugin starts."""

from lmqgate.plugin import serve

from plugin import AuthPython

serve(AuthPython())
