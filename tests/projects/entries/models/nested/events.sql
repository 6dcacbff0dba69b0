select 1 + 1 as id, {'lat': 1.5, 'lon': 2.5} as position
