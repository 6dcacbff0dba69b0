"""dbt-osmosis's own logger, so that ``--log-level`` governs our lines too.

Its handler reads ``[…]`` as markup, which SQL and answers of models are full of: switched off.
"""

import logging

logger = logging.LoggerAdapter(logging.getLogger("dbt-osmosis"), {"markup": False})
